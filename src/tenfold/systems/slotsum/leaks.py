"""What may not stand outside the slots of a template, and a plain check of a finished one.

    level     cannot stand outside slots; each includes those above
    digits    any character of Unicode class N* (full-width, superscript, fractions too), and unescaped brackets
    words     number words, names of months and weekdays (closed lists, en and zh)
    values    any form of a value of the knowledge base (case, accents and what separates its words do not count)
    lexicon   any word that is not on a list

A word ends where a letter is followed by anything else; a Chinese character is a word of its own. Templates are
compared letter by letter in their folded form, so that checking a text and writing it byte by byte agree.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tenfold.systems.slotsum.dates import MONTHS
from tenfold.systems.slotsum.forms import forms
from tenfold.systems.slotsum.templates import Template, Text
from tenfold.systems.slotsum.tokens import STOP_WORDS, fold, is_ideograph
from tenfold.systems.slotsum.values import NUMBER_WORDS, SCALES, parse_value

Level = Literal["digits", "words", "values", "lexicon"]
LEVELS: tuple[Level, ...] = ("digits", "words", "values", "lexicon")
Word = tuple[str, ...]
TENS = "thirty forty fifty sixty seventy eighty ninety trillion dozen"
WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday"
SHORT_MONTHS = "jan feb mar apr jun jul aug sep sept oct nov dec"
CHINESE = "一二三四五六七八九十百千万亿零〇两"
CHINESE_DAYS = ("星期日", "星期天", "周日", "礼拜")


@dataclass(frozen=True)
class Policy:
    """What a template may hold: slot keys inside brackets, and what is forbidden outside."""

    level: Level
    keys: tuple[str, ...]
    """What may stand in `[[ ]]`, with `#2` and so on where a key may return."""
    forbidden: frozenset[Word] = frozenset()
    """Sequences of folded words."""
    lexicon: frozenset[str] | None = None
    """The only words allowed outside slots; None allows all."""


def policy(
    level: Level, keys: Sequence[str], values: Iterable[str] = (), *, lexicon: Iterable[str] = (), repeats: int = 4
) -> Policy:
    """The policy of a level: each key up to `repeats` times, anonymous slots for numbers and dates, forms of the values."""
    markers = [f"{key}#{n}" if n > 1 else key for key in dict.fromkeys(keys) for n in range(1, repeats + 1)]
    forbidden: set[Word] = set()
    if level != "digits":
        forbidden |= closed_words()
    if level in ("values", "lexicon"):
        forbidden |= {word for value in values for word in surface_words(value)}
    allowed = frozenset(fold(word) for word in lexicon) if level == "lexicon" else None
    return Policy(level, (*markers, "?number", "?date", "?value"), frozenset(forbidden), allowed)


@lru_cache
def closed_words() -> frozenset[Word]:
    """Number words and names of months and days."""
    english = [*NUMBER_WORDS, *SCALES, *MONTHS, *f"{TENS} {WEEKDAYS} {SHORT_MONTHS}".split()]
    return frozenset(split_words(word) for word in [*english, *CHINESE, *CHINESE_DAYS])


def surface_words(value: str) -> Iterator[Word]:
    """The forms of a value as sequences of words; those with digits need no rule, and function words alone are no value."""
    for form in forms(parse_value(value)):
        for text in (" ".join(form.words), " ".join(" ".join(word) for word in form.words) if len(form.words) == 1 else ""):
            sequence = split_words(text)
            is_short = len(sequence) > 1 and all(len(word) == 1 for word in sequence) and len(sequence) > 4
            if sequence and not has_number(text) and not set(sequence) <= STOP_WORDS and not is_short:
                yield sequence


def has_number(text: str) -> bool:
    """Whether any character, as it is or folded, is a number."""
    return any(unicodedata.category(letter)[0] == "N" for letter in text + fold_letters(text))


@lru_cache(maxsize=65536)
def fold_letter(letter: str) -> str:
    """One character in comparison form; nothing for a combining mark."""
    return fold(letter)


def fold_letters(text: str) -> str:
    """A text folded character by character, as it is when it is written byte by byte."""
    return "".join(map(fold_letter, text))


def split_words(text: str) -> Word:
    """The words of a text, folded: runs of letters, and single ideographs."""
    return tuple(fold_letters(text)[start:end] for start, end in word_places(fold_letters(text)))


def word_places(folded: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the words of a folded text."""
    start = None
    for place, letter in enumerate(folded):
        if start is not None and (not letter.isalnum() or is_ideograph(letter)):
            yield start, place
            start = None
        if is_ideograph(letter):
            yield place, place + 1
        elif letter.isalnum() and start is None:
            start = place
    if start is not None:
        yield start, len(folded)


def violations(template: Template, rules: Policy) -> list[str]:
    """What breaks the policy, each as a short text; none where the template keeps it. Slow and obvious on purpose."""
    found = [f"slot {slot.marker}" for slot in template.slots if slot.marker[2:-2] not in rules.keys]
    for piece in template.pieces:
        if isinstance(piece, Text):
            found += (f"number in {piece.text!r}" for _ in range(has_number(piece.text)))
            found += (f"{' '.join(words)!r} in {piece.text!r}" for words in _forbidden_in(piece.text, rules))
    return found


def _forbidden_in(text: str, rules: Policy) -> Iterator[Word]:
    said = split_words(text)
    for start in range(len(said)):
        for end in range(start + 1, len(said) + 1):
            if said[start:end] in rules.forbidden:
                yield said[start:end]
    if rules.lexicon is not None:
        yield from ((word,) for word in said if word not in rules.lexicon)
