"""Each gate stops its planted defect and lets good pairs pass, those of awkward form too."""

import importlib.util
from pathlib import Path

import pytest

from tenfold.systems.glan.gates import check
from tenfold.systems.glan.sieve import sieve

SPEC = importlib.util.spec_from_file_location("glan_pairs", Path(__file__).with_name("pairs.py"))
pairs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pairs)
make_pair, QUESTION, ANSWER = pairs.make_pair, pairs.GOOD_QUESTION, pairs.GOOD_ANSWER

GOOD = [
    ANSWER,
    "x = 4 and y = 7",
    "The steps are these:\n1. Heat the water\n2. Read the thermometer\n3. Repeat at another height",
    "```python\nprint(2 ** 10)\n```",
    "The area is 12 cm²",
    "| height | boiling point |\n|---|---|\n| 0 m | 100 °C |",
    "By Clausius and Clapeyron,\n$$\\ln(p_2/p_1) = -L/R (1/T_2 - 1/T_1)$$",
    "**It falls with height.**",
    "I am sorry to say that most tables leave this out: the point falls by about 1 °C for every 300 m.",
    "No. A refusal to measure twice is a common error; measure the pressure and the temperature together.",
]


@pytest.mark.parametrize("answer", GOOD)
def test_good_answers_pass(answer):
    assert check(make_pair(answer=answer)) is None


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        ("truncation", {"truncated": True}),
        ("truncation", {"answer": "```python\nprint(2 ** 10)"}),
        ("truncation", {"answer": ANSWER[:-30]}),
        ("truncation", {"answer": "It falls because of the"}),
        ("truncation", {"answer": "It falls with height, and also,"}),
        ("truncation", {"instruction": QUESTION[:-20]}),
        ("length", {"answer": "Yes."}),
        ("length", {"instruction": "Why?"}),
        ("length", {"answer": "word " * 4001 + "."}),
        ("echo", {"answer": QUESTION.upper() + " " + ANSWER}),
        ("echo", {"answer": "Well. " + QUESTION + " Because of pressure."}),
        ("refusal", {"answer": "I'm sorry, but I can't help with that."}),
        ("refusal", {"answer": "I’m unable to answer this question."}),
        ("refusal", {"answer": "As an AI language model, I have never seen water boil."}),
        ("language", {"answer": "沸点随着海拔升高而降低，因为气压降低。 这是 常见 现象。"}),
        ("language", {"answer": "Der Siedepunkt sinkt mit der Höhe, weil dort oben der Luftdruck kleiner wird und somit "
                                "das Wasser schon bei geringerer Temperatur siedet, was jeder Bergsteiger kennt."}),
        ("figure", {"instruction": "What does the diagram below say about the boiling point of water at height?"}),
    ],
)  # fmt: skip
def test_planted_defects_are_stopped(gate, changes):
    reason = check(make_pair(**changes))
    assert reason is not None and (reason.gate, bool(reason.detail)) == (gate, True)


def test_another_language_may_be_allowed():
    german = "Der Siedepunkt sinkt mit der Höhe, weil dort oben der Luftdruck kleiner wird und das Wasser früher siedet."
    assert check(make_pair(answer=german * 2), language="any") is None


def test_every_cut_of_a_good_answer_is_stopped():
    """Truncations at random places: all but those at the end of a sentence."""
    text = " ".join(answer for answer in [ANSWER] * 3)
    cuts = [cut for cut in range(60, len(text) - 1) if text[cut - 1] not in ".,"]
    stopped = sum(
        (reason := check(make_pair(answer=text[:cut]))) is not None and reason.gate == "truncation" for cut in cuts
    )
    assert stopped / len(cuts) >= 0.99


def test_of_duplicates_the_first_stays():
    long = "A class of forty students measures how the boiling point of water falls with height above the sea. " + QUESTION
    rows = [
        make_pair(id="first"),
        make_pair(id="same", instruction=QUESTION.upper().replace(",", " -")),
        make_pair(id="long", instruction=long),
        make_pair(id="near", instruction=long.replace("A class", "One class")),
        make_pair(id="other", instruction="Which gas laws hold for steam, and at which pressures do they fail?"),
    ]
    verdicts = sieve(rows)
    assert {key: reason.gate for key, reason in verdicts.items()} == {"same": "duplicate", "near": "near duplicate"}
    assert verdicts["same"].detail == "of first" and verdicts["near"].detail == "of long"
