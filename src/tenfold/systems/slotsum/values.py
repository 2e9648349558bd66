"""Values of facts: raw text comes in, a typed reading goes out (dates, quantities with units, codes, lists, names)."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from tenfold.systems.slotsum.dates import Date, parse_date
from tenfold.systems.slotsum.tokens import fold
from tenfold.systems.slotsum.units import UNITS

Kind = Literal["date", "quantity", "code", "list", "string"]
NUMBER = re.compile(r"[-\u2212]?\d[\d,]*(?:\.\d+)?")
NUMBER_WORDS = {
    word: number
    for number, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
}
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "万": 10**4, "亿": 10**8}
CODE = re.compile(r"[A-Z]{0,4}\d[\dA-Z]*(?:[-/][\dA-Z]+)*|[A-Z]{2,}\d*")
NUMBERS = re.compile(r"\d[\d.]*(?:(?:\s*[,、/]\s*(?:and\s+)?|\s+and\s+)\d[\d.]*)+")
LIST_MARK = re.compile(r"\s*[,、/]\s*(?:and\s+)?|\s+and\s+")
UNIT_WORDS = re.compile(r"\s+[a-z]+(?: [a-z]+){0,4}")
"""What follows a number as its unit even if no table has it: square metres, inhabitants per square kilometre."""


@dataclass(frozen=True)
class Value:
    """A fact's value: its raw text without decoration, its kind, and its typed reading if it has one."""

    text: str
    kind: Kind
    date: Date | None = None
    amount: Decimal | None = None
    unit: str = ""
    parts: tuple[str, ...] = ()
    """The members of a list."""


def clean(raw: str) -> str:
    """The value without the marks of its source: underscores, quotes, `-lrb-`."""
    undone = raw.replace("_", " ").replace("-lrb-", "(").replace("-rrb-", ")").strip()
    return undone.strip("\"'`\u201c\u201d ").strip()


def parse_value(raw: str) -> Value:
    """The typed reading of a raw value."""
    text = clean(raw)
    date = parse_date(text)
    if date:
        return Value(text, "date", date=date)
    quantity = _parse_quantity(text)
    if quantity:
        return quantity
    if ("," in text or " and " in text) and NUMBERS.fullmatch(text):
        return Value(text, "list", parts=tuple(LIST_MARK.split(text)))
    return Value(text, "code" if CODE.fullmatch(text) and len(text) > 2 else "string")


def _parse_quantity(text: str) -> Value | None:
    match = NUMBER.match(text)
    if not match:
        return None
    rest = text[match.end() :]
    tail = fold(rest).strip(" ()\"'").rstrip(".")
    is_known = not tail or tail in UNITS or tail in SCALES or rest.strip().startswith("(")
    if not is_known and not UNIT_WORDS.fullmatch(rest):
        return None
    scale = SCALES.get(tail)
    return Value(text, "quantity", amount=read_number(match[0]) * (scale or 1), unit="" if scale else tail)


def read_number(written: str) -> Decimal:
    """The number that digits with thousand marks stand for."""
    return Decimal(written.replace(",", "").replace("\u2212", "-"))
