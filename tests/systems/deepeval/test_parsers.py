"""The published rule equals a slow reading of its description on every released question; ours on the labelled answers."""

import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.systems.deepeval import released
from tenfold.systems.deepeval.items import LETTERS, TASKS, Item
from tenfold.systems.deepeval.parsers import PARTS, corpus, parse, parse_official

OPTIONS = ("The last bus", "A quiet morning", "Broken promises", "Plan B")
Style = Callable[[str, str, str], str]
"""(right letter, right text, wrong text) -> answer."""

STYLES: dict[str, Style] = {
    "letter": lambda letter, text, wrong: letter,
    "in brackets": lambda letter, text, wrong: f"({letter})",
    "with text": lambda letter, text, wrong: f"{letter}. {text}",
    "bold": lambda letter, text, wrong: f"**{letter}**",
    "article first": lambda letter, text, wrong: f"A cartoon shows this, so the correct answer is {letter}.",
    "rejected first": lambda letter, text, wrong: f'"{wrong}" is wrong, the answer is {letter}.',
    "lower case": lambda letter, text, wrong: f"answer: {letter.lower()}",
    "text": lambda letter, text, wrong: text,
    "statement": lambda letter, text, wrong: f"The answer is {letter}.",
}
GOLDEN = {
    "description": {"article first": 22.8, "with text": 100.0, "text": 100.0},
    "title": {"article first": 27.3, "with text": 99.8, "text": 99.8},
    "meaning": {"article first": 24.7, "with text": 100.0, "text": 100.0},
}
"""Measured percentages of right readings; the other styles: rejected and lower case 0, the rest 100."""


def slow_official(answer: str, options: tuple[str, ...]) -> str | None:
    """Character by character, from the description of the rule alone."""
    for letter, option in zip("ABCD", options, strict=True):
        shortened = option[: len(option) - 1]
        for start in range(len(answer) - len(shortened) + 1):
            if answer[start : start + len(shortened)] == shortened:
                return letter
    for place, character in enumerate(answer):
        before = answer[place - 1] if place else " "
        after = answer[place + 1] if place + 1 < len(answer) else " "
        if character in "ABCD" and not any(near.isalnum() or near == "_" for near in (before, after)):
            return character
    return None


def answers(item: Item, style: Style) -> str:
    wrong = next(option for place, option in enumerate(item.options) if place != item.gold)
    return style(item.letter, item.answer, wrong)


@pytest.mark.parametrize("task", TASKS)
def test_official_parser_on_every_released_question(data_folder, task):
    folder = data_folder / "deepeval"
    items, _ = released.load_questions(folder, task, released.load_annotations(folder))
    right: Counter[str] = Counter()
    for place, item in enumerate(items):
        for name, style in STYLES.items():
            answer = answers(item, style)
            letter = parse_official(answer, item.options).letter
            if place % 10 == 0:
                assert letter == slow_official(answer, item.options)
            right[name] += letter == item.letter
    for name in STYLES:
        wanted = GOLDEN[task].get(name, 0.0 if name in ("rejected first", "lower case") else 100.0)
        assert round(100 * right[name] / len(items), 1) == wanted, name


@given(st.text(alphabet="ABCDabcd .()*_-Plan\n", max_size=30), st.tuples(*[st.text("abAB .", min_size=1, max_size=4)] * 4))
def test_official_parser_equals_a_slow_one(answer, options):
    assert parse_official(answer, options).letter == slow_official(answer, options)


def test_official_parser_says_where_it_read():
    found = parse_official("I take Plan B.", OPTIONS)
    assert (found.letter, found.span) == ("D", (7, 12))
    assert parse_official("none at all", OPTIONS).state == "none"


# ---- ours


def disagreements(rows):
    read = {row.id: parse(row.answer, row.options, cut_off=row.cut_off) for row in rows}
    return [row for row in rows if (read[row.id].state, read[row.id].letter) != (row.state, row.letter)]


def test_corpus_is_large_and_varied():
    rows = corpus()
    assert len(rows) >= 400
    assert len({row.style for row in rows}) >= 12
    assert len({row.id for row in rows}) == len(rows)
    assert {row.state for row in rows} == {"ok", "ambiguous", "none", "refusal", "truncated"}
    assert all((row.letter is not None) == (row.state == "ok") for row in rows)
    assert {row.id.split("-")[0] for row in rows} == set(PARTS)


def test_nearly_every_labelled_answer_is_read_as_a_person_reads_it():
    wrong = disagreements(corpus())
    assert len(wrong) <= 0.01 * len(corpus()), [(row.id, row.answer) for row in wrong]


def test_no_letter_is_guessed():
    silent = [row for row in corpus() if row.state != "ok" and parse(row.answer, row.options, cut_off=row.cut_off).letter]
    other = [
        row for row in corpus() if row.state == "ok" and parse(row.answer, row.options).letter not in (row.letter, None)
    ]
    assert not silent + other, [(row.id, row.answer) for row in silent + other]


@given(st.text(max_size=80), st.booleans())
def test_robust_parser_never_raises(answer, cut_off):
    found = parse(answer, OPTIONS, cut_off=cut_off)
    assert (found.letter is not None) == (found.state == "ok")


@given(st.sampled_from(corpus()), st.text(" \n\t", max_size=4), st.text(" \n\t", max_size=4))
def test_surrounding_white_space_is_ignored(row, before, after):
    plain, padded = (parse(text, row.options, cut_off=row.cut_off) for text in (row.answer, before + row.answer + after))
    assert (plain.state, plain.letter) == (padded.state, padded.letter)


TEXT_STYLES = ("option_text", "nested_text")
NAMES_A_LETTER = re.compile(r"(?<![A-Za-z])[A-Da-d](?![A-Za-z])")


@given(st.sampled_from(corpus()), st.permutations(range(4)))
def test_a_reading_of_option_text_follows_relabelled_options(row, order):
    if row.style not in TEXT_STYLES or row.state != "ok" or NAMES_A_LETTER.search(row.answer):
        return
    shuffled = tuple(row.options[place] for place in order)
    found = parse(row.answer, shuffled)
    assert found.letter is not None
    assert shuffled[LETTERS.index(found.letter)] == row.options[LETTERS.index(row.letter or "")]
