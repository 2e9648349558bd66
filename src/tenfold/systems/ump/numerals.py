"""The numbers that a problem's text names, as the generator reads them: digits, percentages, fractions and words.

The checker has a reader of its own (`reading.py`) that was written apart from this one; a test compares the two. What
this reader is not sure of (times of day, ordinals beside fractions, ranges, model numbers) makes it refuse the text.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from tenfold.systems.ump.problems import Span
from tenfold.systems.ump.wordings import read_list

Kind = Literal["plain", "money", "percent", "fraction", "word"]

WORDS = {
    word: Fraction(number)
    for word, number in zip(read_list("cardinals.txt"), [*range(1, 21), *range(30, 100, 10)], strict=True)
}
WORDS |= {
    **dict.fromkeys(("twice", "double", "doubled", "doubles"), Fraction(2)),
    **dict.fromkeys(("thrice", "triple", "tripled", "triples"), Fraction(3)),
    "dozen": Fraction(12),
    "half": Fraction(1, 2),
}
PARTS = {"third": Fraction(1, 3), "fourth": Fraction(1, 4), "quarter": Fraction(1, 4), "fifth": Fraction(1, 5)}

_DIGITS = re.compile(
    r"(?P<fraction>(?<![\w./:#-])\d+/\d+(?![\w/]|-\d))"
    r"|(?P<plain>(?<![\w./:#])\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:%| percent\b)?(?![\w:/%]|-\d|,\d|\.\d))"
)
_WORD = re.compile(r"\b(?:" + "|".join(WORDS) + r")\b", re.IGNORECASE)
_PART = re.compile(
    r"\b(?P<count>an?|one)[ -](?P<part>" + "|".join(PARTS) + r")\b(?= of\b| the\b| as\b| more\b| less\b)", re.I
)
_UNSURE = re.compile(
    r"[€£]|\b(?:zero|thirds|fourths|quarters?|fifths|sixths?|sevenths?|eighths?|ninths?|tenths?|halves|hundreds?|thousands?|millions?"
    r"|billions?|dozens|couple|pm|am|o'clock|score|century|decades?)\b|\b[ap]\.m\.|-half\b|\band a half\b"
    r"|\d and \d+/\d|\d \d+/\d|\b(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)-\w",
    re.IGNORECASE,
)


class NumeralError(ValueError):
    """A text whose numbers this reader does not want to vouch for."""


@dataclass(frozen=True)
class Numeral:
    """One number of the text."""

    span: Span
    text: str
    value: Fraction
    kind: Kind


def find_numerals(text: str) -> list[Numeral]:
    """All numbers of a text in order; NumeralError if it holds any that might be read in two ways."""
    parts = [_part(match) for match in _PART.finditer(text)]
    covered = [numeral.span for numeral in parts]
    if _UNSURE.search(_blank(text, covered)):
        raise NumeralError("a number that can be read in two ways")
    digits = [_digits(match) for match in _DIGITS.finditer(text)]
    words = [_word(match) for match in _WORD.finditer(_blank(text, covered))]
    if re.search(r"\d", _blank(text, [numeral.span for numeral in digits])):
        raise NumeralError("digits that are no plain number")
    return sorted([*parts, *digits, *words], key=lambda numeral: numeral.span)


def _blank(text: str, spans: list[Span]) -> str:
    for start, end in spans:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def _digits(match: re.Match[str]) -> Numeral:
    text = match.group()
    if match["fraction"]:
        return Numeral(match.span(), text, _ratio(text), "fraction")
    number = Fraction(re.sub(r"[$,%]| percent", "", text))
    if text.endswith(("%", "percent")):
        return Numeral(match.span(), text, number / 100, "percent")
    return Numeral(match.span(), text, number, "money" if text.startswith("$") else "plain")


def _ratio(text: str) -> Fraction:
    try:
        return Fraction(text)
    except ZeroDivisionError:
        raise NumeralError("a fraction over zero") from None


def _word(match: re.Match[str]) -> Numeral:
    return Numeral(match.span(), match.group(), WORDS[match.group().lower()], "word")


def _part(match: re.Match[str]) -> Numeral:
    return Numeral(match.span(), match.group(), PARTS[match["part"].lower()], "word")


def write_number(value: Fraction, like: Numeral) -> str:
    """Digits for a value in the manner of another number of the text: with its `$`, `%` and thousands commas."""
    if like.kind == "percent":
        return _plain(value * 100, commas=False) + ("%" if like.text.endswith("%") else " percent")
    return ("$" if like.kind == "money" else "") + _plain(value, commas="," in like.text, cents=like.kind == "money")


def _plain(value: Fraction, *, commas: bool, cents: bool = False) -> str:
    if value.denominator == 1:
        return f"{value.numerator:,}" if commas else str(value.numerator)
    return f"{float(value):.2f}" if cents else f"{float(value):g}"
