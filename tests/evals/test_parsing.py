"""The parser of answers: our labelled answers, laws on arbitrary text, and that a broken rule is seen."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.evals.parsing import Parse, parse_letter

CORPUS = [json.loads(line) for line in (Path(__file__).parent / "parsing_corpus.jsonl").read_text("utf-8").splitlines()]
OPTIONS = {"A": "The fish that would not swim", "B": "Rain on Sunday", "C": "Too many cooks", "D": "Silence"}
STATES = {"ok", "ambiguous", "none", "refusal", "truncated"}
PIECES = [
    *"ABCDE", "a", "the answer is ", "not ", "option ", "(", ")", ". ", "\n", ": ", "or ", "and ", "so ", "is correct",
    "Silence", "rain on sunday", "second option", "**", "\\boxed{", "}", '{"answer": "', '"}', "<think>", "</think>", "?",
    "I cannot see the image", " is wrong", "no", "wait", "0", "é", "答案：", "\u202e", "\x00",
]  # fmt: skip
answers = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PIECES), max_size=14).map("".join))


@pytest.mark.parametrize("row", CORPUS, ids=[f"{row['id']} {row['style']}" for row in CORPUS])
def test_labelled_answers(row):
    parse = parse_letter(row["answer"], row["options"], truncated=row["truncated"])
    assert (parse.state, parse.letter) == (row["state"], row["letter"]), parse


def test_the_corpus_is_as_large_and_varied_as_it_should_be():
    assert len(CORPUS) >= 80
    assert len({row["style"] for row in CORPUS}) >= 12
    assert {row["state"] for row in CORPUS} == STATES


@settings(max_examples=300, deadline=None)
@given(answers, st.booleans())
def test_it_never_raises_and_its_result_is_whole(answer, truncated):
    parse = parse_letter(answer, OPTIONS, truncated=truncated)
    assert parse.state in STATES
    assert (parse.letter in OPTIONS) == (parse.state == "ok")
    if parse.span is not None:
        start, end = parse.span
        assert 0 <= start <= end <= len(answer)


@settings(max_examples=150, deadline=None)
@given(answers, st.sampled_from([" ", "\n", "\t ", "\n\n  "]), st.sampled_from(["", " ", "\n", " \n"]))
def test_surrounding_white_space_changes_nothing(answer, before, after):
    plain, padded = parse_letter(answer, OPTIONS), parse_letter(before + answer + after, OPTIONS)
    assert (plain.state, plain.letter) == (padded.state, padded.letter)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*"PQRS", *PIECES[5:]]), max_size=14).map("".join), st.permutations("PQRS"))
def test_it_follows_relabelled_options(answer, letters):
    """Other letters for the same options and the same letters in the answer: the same option, under its new letter."""
    texts = list(OPTIONS.values())
    rename = dict(zip("PQRS", letters, strict=True))
    renamed = "".join(rename.get(sign, sign) for sign in answer)
    first = parse_letter(answer, dict(zip("PQRS", texts, strict=True)))
    second = parse_letter(renamed, dict(zip(letters, texts, strict=True)))
    assert first.state == second.state
    assert second.letter == (rename[first.letter] if first.letter else None)


@pytest.mark.parametrize("num_options", range(2, 11))
def test_any_number_of_options(num_options):
    options = {chr(65 + place): f"Sentence number {'x' * (place + 2)}" for place in range(num_options)}
    for letter, text in options.items():
        for answer in (
            letter,
            f"({letter})",
            f"The answer is {letter}.",
            f"{letter}. {text}",
            text,
            f'{{"answer": "{letter}"}}',
        ):
            assert parse_letter(answer, options).letter == letter, answer


@pytest.mark.parametrize("options", [{}, {"A": "one"}, {"a": "one", "b": "two"}, {"A": "one", "BB": "two"}])
def test_options_without_proper_letters_are_refused(options):
    with pytest.raises(ValueError, match="capitals"):
        parse_letter("A", options)


def test_equal_options_are_never_told_apart_by_their_text():
    assert parse_letter("same text here", {"A": "same text here", "B": "same text here"}).state == "ambiguous"


def test_the_span_shows_what_decided():
    answer = "Well. <think>B</think> The answer is **C**."
    parse = parse_letter(answer, OPTIONS)
    assert parse.span is not None
    assert answer[slice(*parse.span)] == "C"


@pytest.mark.parametrize(
    "answer", ["A" * 1_000_000, "A or B, " * 120_000, "{" * 100_000, '{"answer": ' * 20_000, "\\boxed{" * 50_000]
)
def test_a_megabyte_is_read_in_time(answer):
    start = time.process_time()
    parse_letter(answer, OPTIONS)
    assert time.process_time() - start < 10


def test_what_is_cut_off_is_told_from_what_is_empty():
    assert parse_letter("The picture shows", OPTIONS, truncated=True) == Parse("truncated", None, "cut off", None)
    assert parse_letter("The picture shows", OPTIONS).state == "none"
