"""Rendering gives the text back on random input, selection equals brute force, values relate both ways alike."""

import json
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz

from tenfold.core.errors import ConfigError
from tenfold.store import runs
from tenfold.systems.slotsum.align import Span, _is_window, _start, _windows, align, select
from tenfold.systems.slotsum.derive import derive_template, has_digit
from tenfold.systems.slotsum.deriving import DeriveConfig, derive
from tenfold.systems.slotsum.forms import forms
from tenfold.systems.slotsum.reading import Reading
from tenfold.systems.slotsum.relations import relate
from tenfold.systems.slotsum.spans import token_f1
from tenfold.systems.slotsum.templates import Slot, Template, Text, parse_template
from tenfold.systems.slotsum.tokens import STOP_WORDS
from tenfold.systems.slotsum.values import parse_value

ALPHABET = st.text("aAé [\\]#?.,0319-３²/年月日北京e\u0301", max_size=40)
VALUES = [
    "1930",
    "1930-01-20",
    "03/04/1930",
    "188 cm",
    "1.88 m",
    "94.8 kg",
    "94.8024 kg",
    "Ada Lovelace",
    "Lovelace",
    "北京",
    "9 m",
]


@given(ALPHABET, st.lists(st.tuples(st.sampled_from(["k", "born"]), ALPHABET), max_size=3))
def test_rendering_gives_the_text_back_and_no_digit_stays(text, facts):
    derived = derive_template(text, facts)
    assert derived.template.render(derived.surfaces) == text
    assert not has_digit(derived.template.prose)


@given(
    st.lists(
        st.one_of(ALPHABET.filter(bool).map(Text), st.builds(Slot, st.sampled_from(["a", "b.c"]), index=st.integers(1, 3)))
    )
)
def test_text_form_is_read_back(pieces):
    template = Template(tuple(pieces))
    assert str(parse_template(str(template))) == str(template)
    assert [slot.marker for slot in parse_template(str(template)).slots] == [slot.marker for slot in template.slots]


@pytest.mark.parametrize("text", ["[[a", "a]]", "[[a[[b]]]]", "[[]]", "[[a#0]]", "\\"])
def test_a_broken_marker_is_refused_with_its_place(text):
    with pytest.raises(ConfigError, match=r"character \d+"):
        parse_template(text)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6), st.sampled_from([0.75, 0.9, 1.0])), max_size=8))
def test_selection_equals_brute_force(triples):
    spans = [Span(start, start + size, "k", "string", score) for start, size, score in triples]
    chosen = select(spans)
    assert all(first.end <= second.start for first, second in pairwise(chosen))
    assert sum(span.worth for span in chosen) == pytest.approx(_best_worth(spans))


def _best_worth(spans):
    subsets = (subset for size in range(len(spans) + 1) for subset in combinations(spans, size))
    apart = (s for s in subsets if all(a.end <= b.start or b.end <= a.start for a, b in combinations(s, 2)))
    return max(sum(span.worth for span in subset) for subset in apart)


@pytest.mark.parametrize("first", VALUES)
def test_relating_is_symmetric_and_reflexive(first):
    assert relate(parse_value(first), parse_value(first)) == "equal"
    for second in VALUES:
        assert relate(parse_value(first), parse_value(second)) == relate(parse_value(second), parse_value(first))


@pytest.mark.parametrize(
    ("first", "second", "relation"),
    [
        ("1930", "1930-01-20", "compatible"),
        ("20 January 1930", "1930-01-20", "equal"),
        ("1931-01-20", "1930-01-20", "different"),
        ("188 cm", "1.88 m", "equal"),
        ("94.8 kg", "94.8024 kg", "compatible"),
        ("188 cm", "1.98 m", "different"),
        ("José", "Jose", "equal"),
        ("Lovelace", "Ada Lovelace", "compatible"),
        ("Rome", "Paris", "different"),
        ("1930", "Rome", "unknown"),
    ],
)
def test_relations(first, second, relation):
    assert relate(parse_value(first), parse_value(second)) == relation


def test_forms_are_found_where_they_stand():
    text = "Rossi, an Italian, was born on 20 January 1930 in Arlington and is 1.9 m tall."
    facts = [("title", "Mario_Rossi"), ("country", "Italy"), ("born", "1930-01-20"), ("place", "Arlington, Texas")]
    assert {span.key: text[span.start : span.end] for span in align(text, facts)} == {
        "title": "Rossi",
        "country": "Italian",
        "born": "20 January 1930",
        "place": "Arlington",
    }


def test_token_f1_of_gold_is_one_and_of_nothing_zero():
    assert token_f1("The Rome", "rome") == 1
    assert token_f1("", "Rome") == 0


def test_resumed_run_equals_whole_run(tmp_path):
    data = tmp_path / "texts.jsonl"
    rows = [{"text": f"Ada lived {n} years.", "facts": {"years": str(n)}} for n in (7, 36)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DeriveConfig(data=str(data))
    whole = runs.start(tmp_path, "whole", config)
    metrics = derive(config, whole)
    assert whole.rows["1"]["template"] == "Ada lived [[years]] years."
    cut_off = runs.start(tmp_path, "cut-off", config)
    cut_off.add("1", {name: value for name, value in whole.rows["1"].items() if name != "key"})
    assert derive(config, runs.resume(tmp_path, "cut-off", config)) == metrics


def test_eval_without_gold_is_refused(tmp_path):
    data = tmp_path / "texts.jsonl"
    data.write_text('{"text": "Ada.", "facts": {"title": "Ada"}}\n')
    config = DeriveConfig(data=str(data), eval=True)
    with pytest.raises(ConfigError, match="gold"):
        derive(config, runs.start(tmp_path, "run", config))


WORDS = [
    "ada",
    "Ada",
    "Lovelace",
    "lovelase",
    "the",
    "of",
    "Lake",
    "lake",
    "Ardmoor",
    "is",
    "in",
    "3rd",
    "North",
    "New",
    "York",
    ".",
]


@given(st.lists(st.sampled_from(WORDS), max_size=10), st.lists(st.sampled_from(WORDS[:-1]), min_size=1, max_size=4))
def test_windows_equal_brute_force(text_words, value_words):
    """Every window of content words that shares a word with a form, compared one by one."""
    text, value = " ".join(text_words), parse_value(" ".join(value_words))
    reading = Reading(text)
    for form in forms(value):
        kept = [word for word in form.words if word not in STOP_WORDS]
        if kept:
            assert sorted(set(_windows(form, reading))) == sorted(_slow_windows(form, kept, reading))


def _slow_windows(form, kept, reading):
    slack = 0 if form.ratio == 100 else min(2, len(kept) - 1)
    anchors = {rank for word in kept for rank in reading.ranks(word)}
    found = set()
    for begin in range(len(reading.content)):
        for stop in range(begin + 1, len(reading.content) + 1):
            said = [token.folded for token in reading.window(begin, stop)]
            ratio = fuzz.ratio(" ".join(sorted(kept)), " ".join(sorted(said)))
            is_near = abs(stop - begin - len(kept)) <= slack and anchors & set(range(begin, stop)) and ratio >= form.ratio
            if is_near and _reaches(begin, stop, kept, reading, slack) and _is_window(form, kept, reading, begin, stop):
                found.add((_start(form, reading, begin), reading.window(begin, stop)[-1].end, form.weight * ratio / 100))
    return found


def _reaches(begin, stop, kept, reading, slack):
    """Whether the window lies around one of its anchors as far as the form reaches."""
    return any(
        place - offset - slack <= begin <= place < stop for offset, word in enumerate(kept) for place in reading.ranks(word)
    )


@pytest.mark.parametrize(
    ("text", "value", "surface"),
    [
        ("It is 28metre high.", "28.0 (metres)", "28metre"),
        ("It has 1.8g of fat.", "1.8 g", "1.8g"),
        ("The runway is 1.533 kilometer long.", "1533.0", "1.533 kilometer"),
        ("He was born on the 23rd day of July in 1927.", "1927-07-23", "23rd day of July in 1927"),
        ("He retired on 1969.09.01.", "1969-09-01", "1969.09.01"),
        ("Advocado is a fruit.", "Avocado", "Advocado"),
        ("He went to AFIT with an M.S. in 1962.", "AFIT, M.S. 1962", "AFIT with an M.S. in 1962"),
        ("He is from the U.S.", "United_States", "U.S."),
        ("镜月湖的最大岛是石鼓岛。", "石鼓岛", "石鼓岛"),
        ("Their area codes are 234 and 330.", "234, 330", "234 and 330"),
    ],
)
def test_values_are_found_as_they_are_written(text, value, surface):
    assert next(text[span.start : span.end] for span in align(text, [("k", value)])) == surface


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Baku is a city.", "Baku Turkish Martyrs' Memorial"),
        ("The United States is large.", "President_of_the_United_States"),
        ("It lies in Pennsylvania.", "Adams_County,_Pennsylvania"),
        ("Australia is large.", "Austria"),
        ("市民住在京北。", "北京"),
    ],
)
def test_a_part_that_names_something_else_is_not_the_value(text, value):
    assert align(text, [("k", value)]) == []


def test_years_inside_values_and_ordinals_inside_keys_are_facts_too():
    facts = [("almaMater", "UT Austin, B.S. 1955"), ("1st_runway_Length", "300")]
    template = derive_template("He got it in 1955. The 1st runway is 300 m long.", facts).template
    assert str(template) == "He got it in [[almaMater.year]]. The [[1st]] runway is [[1st_runway_Length]] long."
