"""Gates that stand only if asked for: equations of numbers, a judge, and questions that are much alike."""

import importlib.util
from pathlib import Path

import pytest

from tenfold.core import jsonl
from tenfold.core.config import parse
from tenfold.core.errors import ApparatusError, ConfigError
from tenfold.llm.chat import ProviderError
from tenfold.llm.scripted import Scripted
from tenfold.store import runs
from tenfold.systems.glan import gating, grading
from tenfold.systems.glan.equations import equations, false_equation
from tenfold.systems.glan.gating import GateConfig, gate
from tenfold.systems.glan.grading import read_grade
from tenfold.systems.glan.pair_files import write_pairs

SPEC = importlib.util.spec_from_file_location("glan_pairs", Path(__file__).with_name("pairs.py"))
pairs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pairs)

TOPICS = ("the boiling of water", "the rusting of iron", "the baking of bread", "the song of birds", "the tides of the sea")
QUESTIONS = [f"Why does {topic} depend on the weather, and how would you measure it?" for topic in TOPICS]


@pytest.mark.parametrize(
    "text",
    [
        "3 + 4 = 7",
        "So 12 * (3 + 4) = 84 apples, and 84 / 2 = 42.",
        "1,200 - 300 = 900 and 0.1 + 0.2 = 0.3",
        "2 x 3 = 6, 2 × 3 = 6, 10 ÷ 4 = 2.5, 5 − 3 = 2",
        "$45.50 * 2 = $91.00",
        "10 / 3 = 3.33 and 2 / 3 = 0.66 and 22 / 7 ≈ 3.14",
        "50 * 20% = 10, 3/4 = 75%, 3/4*100 = 75%",
        "2 + 2 = 4 = 8 / 2",
        "x + 5 = 7, 2x = 6, f(2) = 9, n^2 = 9, 5 apples + 3 apples = 9 apples",
        "Half of 9 = 4 whole ones",
        "He was born in 1990. 3 + 4 = 7.",
        "y / 2 = 50",
        "The score was 3 = three",
        "",
    ],
)
def test_equations_that_hold_or_are_none_pass(text):
    assert false_equation(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3 + 4 = 8", "3 + 4 = 8"),
        ("First 2 * 6 = 12. Then 12 * (3 + 4) = 85.", "12 * (3 + 4) = 85"),
        ("10 / 4 = 3", None),
        ("2 + 2 = 4 = 9 / 3", "4 = 9 / 3"),
        ("1,200 - 300 = 800", "1,200 - 300 = 800"),
        ("50 * 20% = 11", "50 * 20% = 11"),
        ("$45.50 * 2 = $91.10", "$45.50 * 2 = $91.10"),
        ("10 / 3 = 3.35", "10 / 3 = 3.35"),
    ],
)
def test_equations_that_do_not_hold_are_found(text, said):
    assert false_equation(text) == said  # 10 / 4 = 3 is rounded to a whole number


def test_every_equals_sign_of_a_chain_is_looked_at():
    assert list(equations("1 + 1 = 2 = 4 / 2")) == [("1 + 1", "2"), ("2", "4 / 2")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"grade": 7}', 7),
        ("Grade: 10", 10),
        ("I give it 3 of 10", None),
        ('{"grade": 11}', None),
        ("7.5", None),
        ("good", None),
    ],
)
def test_grades_are_read_or_not(text, found):
    assert read_grade(text) == found


def gated(tmp_path, *made, **settings):
    path = tmp_path / "pairs.jsonl"
    write_pairs(path, made)
    config = parse(GateConfig, {"data": str(path)} | settings)
    run = runs.start(tmp_path / "runs", "glan-gate", config)
    return gate(config, run), run.folder


def test_arithmetic_is_judged_where_it_is_asked_for(tmp_path):
    good, bad = "There are 3 + 4 = 7 of them.", "There are 3 + 4 = 8 of them."
    made = [pairs.make_pair(QUESTIONS[0], good, id="a"), pairs.make_pair(QUESTIONS[1], bad, id="b")]
    assert gated(tmp_path, *made)[0]["accepted"] == 2
    metrics, folder = gated(tmp_path, *made, arithmetic=True)
    assert metrics["gates"] == {"arithmetic": 1}
    (row,) = jsonl.recover(folder / "rejected.jsonl")
    assert row["detail"] == "3 + 4 = 8 does not hold"


def test_alike_questions_are_stopped_where_it_is_asked_for(tmp_path):
    moved = "How would you measure it, and why does the boiling of water depend on the weather?"
    made = [pairs.make_pair(text, id=str(n)) for n, text in enumerate([*QUESTIONS, moved])]
    assert gated(tmp_path, *made)[0]["accepted"] == 6
    metrics, folder = gated(tmp_path, *made, alike=0.7)
    assert metrics["gates"] == {"alike": 1}
    assert jsonl.recover(folder / "rejected.jsonl")[0]["id"] == "5"


def test_a_judge_stops_what_earns_too_little_and_is_asked_once(tmp_path, monkeypatch):
    def answer(request):
        text = request.messages[-1].text
        if "bread" in text:
            raise ProviderError("server", "down")
        return "no idea" if "iron" in text else f'{{"grade": {3 if "water" in text else 8}}}'

    judge = Scripted("judge", answer)
    monkeypatch.setattr(grading, "open_teacher", lambda name, concurrency: judge)
    made = [pairs.make_pair(text, id=str(n)) for n, text in enumerate(QUESTIONS)]
    settings = {"judge": "openai:judge", "judge_ledger": str(tmp_path / "grades.sqlite")}
    metrics, folder = gated(tmp_path, *made, **settings)
    assert (metrics["graded"], metrics["unreadable"], metrics["gates"]) == (3, 2, {"judge": 1})
    assert jsonl.recover(folder / "rejected.jsonl")[0]["id"] == "0" and metrics["accepted"] == 4
    assert "3 graded" in gating.describe(metrics)
    asked = len(judge.requests)
    assert gated(tmp_path, *made, **settings, least_grade=9)[0]["gates"] == {"judge": 3}
    assert len(judge.requests) == asked + 1, "only the call that failed is made again"


def test_a_judge_that_cannot_be_read_is_a_failure_of_the_apparatus(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "open_teacher", lambda name, concurrency: Scripted("judge", lambda request: "fine"))
    with pytest.raises(ApparatusError, match="no grade that can be read"):
        gated(tmp_path, pairs.make_pair(), judge="openai:judge")
    with pytest.raises(ConfigError, match="least_grade"):
        gated(tmp_path, pairs.make_pair(), least_grade=11)
