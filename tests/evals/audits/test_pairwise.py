"""Blind probes over labelled pairs: planted leaks are found, crossed blocks give an additive score exactly one half."""

import json
import random
import re
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.evals.audits import LabelledText, audit_pairs, default_text_probes, identical_pairs, texts_with
from tenfold.evals.audits.pairwise import MeasureProbe, format_marks, number_marks
from tenfold.store.artifacts import find_data

NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "Jana"]
THINGS = ["apples", "pears", "plums", "nuts", "figs", "dates", "limes", "beans"]


def crossed(num_blocks, seed=0):
    """Two wordings of a first part and two of a second, all four combinations; the label is their exclusive or."""
    order = random.Random(seed)
    texts = []
    for block in range(num_blocks):
        name, thing = order.choice(NAMES), order.choice(THINGS)
        firsts = [f"{name} has {count} {thing}." for count in order.sample(range(2, 99), 2)]
        seconds = [f"Later there are {count} left {'at home' * (count % 3)}." for count in order.sample(range(2, 99), 2)]
        for f, g, pair in ((0, 0, 1), (0, 1, 1), (1, 1, 2), (1, 0, 2)):
            text = f"{firsts[f]} {seconds[g]}"
            texts.append(LabelledText(f"{block}{f}{g}", f"{block}-{pair}", str(block), text, f != g))
    return texts


ADDITIVE = ["naive Bayes, counts of words", "length", "count of numbers", "vague quantities"]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 9_999))
def test_additive_probes_order_exactly_half_the_pairs_of_crossed_blocks(seed):
    probes = [probe for probe in default_text_probes() if probe.name in ADDITIVE]
    for name, result in audit_pairs(crossed(15, seed), probes).items():
        assert (result.pairwise.value, *result.pairwise.interval) == pytest.approx((0.5,) * 3, abs=1e-12), name


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9_999), st.integers(1, 5))
def test_any_sum_over_words_orders_exactly_half(salt, levels):
    def measure(text):
        return sum(crc32(word.encode(), salt) % levels for word in text.split())

    result = audit_pairs(crossed(6), [MeasureProbe("sum", measure)])["sum"]
    assert result.pairwise.value == pytest.approx(0.5, abs=1e-12)
    assert result.strictly_ordered.value <= 0.5


def test_no_probe_makes_much_of_crossed_blocks():
    for name, result in audit_pairs(crossed(150)).items():
        assert 0.4 <= result.pairwise.value <= 0.6, name


def paired(change, num_pairs=80):
    order = random.Random(1)
    texts = []
    for pair in range(num_pairs):
        text = f"{order.choice(NAMES)} has {order.randrange(9)} {order.choice(THINGS)} and eats {order.randrange(9)}."
        texts += [
            LabelledText(f"{pair}{label}", str(pair), str(pair), change(text, label), label) for label in (False, True)
        ]
    return texts


LEAKS = {
    "naive Bayes": lambda text, label: text + (" Why?" if label else " How many?"),
    "naive Bayes, set of words": lambda text, label: ("perhaps " if label else "surely ") + text,
    "naive Bayes, counts of words": lambda text, label: text + " more" * (4 if label else 1),
    "format marks": lambda text, label: text + (" " if label else "  ok"),
    "numbers": lambda text, label: text if label else text + " 7 7",
    "length": lambda text, label: text + " ." * (20 if label else 0),
    "count of numbers": lambda text, label: text + (" 3, 4" if label else ""),
    "vague quantities": lambda text, label: text.replace("has", "has some, several of" if label else "has"),
    "word n-gram logistic": lambda text, label: ("so it is " if label else "is it so ") + text,
    "character n-gram logistic": lambda text, label: text.replace("a", "aa" if label else "a"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found_by_the_probe_made_for_it(name):
    probe = next(probe for probe in default_text_probes() if probe.name == name)
    result = audit_pairs(paired(LEAKS[name]), [probe])[name]
    assert result.pairwise.value > 0.9
    assert result.answerability.value > 0.8


def test_identical_pairs_tie_and_are_listed():
    texts = paired(lambda text, label: text, 10)
    assert len(identical_pairs(texts)) == 10
    for name, result in audit_pairs(texts).items():
        assert result.pairwise.value == 0.5, name
        assert result.strictly_ordered.value == 0.0


def test_texts_with_a_pattern_are_counted_by_label():
    assert texts_with(paired(LEAKS["format marks"], 7), re.compile(r"\s\Z")) == (0, 7)


def test_marks_of_format_and_numbers():
    assert format_marks(" She has 3 .Then ") == [
        "starts with space", "ends with space", "space before mark", "no mark at the end"
    ]  # fmt: skip
    assert format_marks("Is it so? yes. and..") == [
        "two full stops", "small letter after full stop", "full stop at the end", "question mark inside"
    ]  # fmt: skip
    assert sorted(number_marks("3 and 12 and 3")) == ["a number twice", "digits 1", "digits 2", "numbers 3"]


def test_texts_without_pairs_are_refused():
    with pytest.raises(ValueError, match="text of each label"):
        audit_pairs([LabelledText("a", "a", "a", "x", True), LabelledText("b", "b", "b", "y", False)])


@pytest.fixture(scope="module")
def answerable_or_not():
    try:
        path = find_data("umwp")
    except ValueError as absent:
        pytest.skip(f"the paired problems are not on this machine: {absent}")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [str(row["id"] if row["answerable"] else row["relevant_ids"][0]) for row in rows]
    return [
        LabelledText(str(row["id"]), pair, pair, row["question"], not row["answerable"])
        for row, pair in zip(rows, pairs, strict=True)
    ]


def test_published_pairs_give_themselves_away(answerable_or_not):
    """The numbers of ump.md section 9; its share within pairs counts ties as lost."""
    probes = [probe for probe in default_text_probes() if probe.name == "naive Bayes"]
    result = audit_pairs(answerable_or_not, probes)["naive Bayes"]
    assert result.answerability.value == pytest.approx(0.674, abs=0.01)
    assert result.strictly_ordered.value == pytest.approx(0.857, abs=0.01)
    assert texts_with(answerable_or_not, re.compile(r"\.\.")) == (387, 0)
    assert len(identical_pairs(answerable_or_not)) == 5
