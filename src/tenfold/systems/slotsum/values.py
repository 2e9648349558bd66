"""Values and when two of them say the same: raw facts come in, typed values and a relation go out.

Only `different` may ever trigger an edit; what cannot be told is `unknown` and stays as it is.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from tenfold.systems.slotsum.dates import Date, parse_date
from tenfold.systems.slotsum.tokens import STOP_WORDS, fold, words

Kind = Literal["date", "quantity", "string"]
Relation = Literal["equal", "compatible", "different", "unknown"]
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
UNITS = {  # spelling -> (dimension, factor to the first unit of the dimension)
    spelling: (dimension, Decimal(factor))
    for dimension, factor, spellings in (
        ("length", "1", "m metre metres meter meters 米"),
        ("length", "0.01", "cm centimetre centimetres centimeter centimeters 厘米"),
        ("length", "1000", "km kilometre kilometres kilometer kilometers 公里"),
        ("length", "0.3048", "ft foot feet"),
        ("length", "1609.344", "mi mile miles"),
        ("mass", "1", "kg kilogram kilograms 公斤"),
        ("mass", "0.001", "g gram grams"),
        ("mass", "0.45359237", "lb lbs pound pounds"),
        ("time", "1", "s second seconds"),
        ("time", "60", "min minute minutes"),
        ("time", "3600", "h hour hours"),
    )
    for spelling in spellings.split()
}


@dataclass(frozen=True)
class Value:
    """A fact's value: its raw text without decoration, its kind, and its typed reading if it has one."""

    text: str
    kind: Kind
    date: Date | None = None
    amount: Decimal | None = None
    unit: str = ""


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
    match = NUMBER.match(text)
    tail = fold(text[match.end() :]).strip(" ()") if match else ""
    if match and (not tail or tail in UNITS or tail in SCALES or text[match.end() :].strip().startswith("(")):
        return Value(
            text, "quantity", amount=read_number(match[0]) * SCALES.get(tail, 1), unit="" if tail in SCALES else tail
        )
    return Value(text, "string")


def read_number(written: str) -> Decimal:
    """The number that digits with thousand marks stand for."""
    return Decimal(written.replace(",", "").replace("\u2212", "-"))


def relate(a: Value, b: Value) -> Relation:
    """Whether two values say the same; symmetric."""
    if fold(a.text) == fold(b.text) or (words(a.text) and words(a.text) == words(b.text)):
        return "equal"
    if a.amount is not None and b.amount is not None:
        return _relate_amounts(a, b)
    if a.date and b.date:
        return _relate_dates(a.date, b.date)
    return _relate_strings(a, b) if a.kind == b.kind == "string" else "unknown"


def _relate_dates(a: Date, b: Date) -> Relation:
    if not a.agrees(b):
        return "different"
    return "equal" if a.parts == b.parts else "compatible"


def _relate_amounts(a: Value, b: Value) -> Relation:
    """Equal numbers, or within half a unit of the last digit shown, after conversion."""
    assert a.amount is not None and b.amount is not None
    first, second = UNITS.get(a.unit), UNITS.get(b.unit)
    if a.unit == b.unit or not (a.unit and b.unit):
        factors = Decimal(1), Decimal(1)
    elif first and second and first[0] == second[0]:
        factors = first[1], second[1]
    else:
        return "unknown"
    amounts = a.amount * factors[0], b.amount * factors[1]
    if amounts[0] == amounts[1]:
        return "equal"
    return "compatible" if abs(amounts[0] - amounts[1]) <= max(_half(a) * factors[0], _half(b) * factors[1]) else "different"


def _half(value: Value) -> Decimal:
    """Half a unit of the last digit shown; whole numbers are exact."""
    assert value.amount is not None
    places = -int(value.amount.as_tuple().exponent)
    return Decimal(5).scaleb(-places - 1) if places > 0 or value.unit else Decimal(0)


def _relate_strings(a: Value, b: Value) -> Relation:
    """Compatible where the words of one hold those of the other, or initials fit; different where they share none."""
    first, second = (set(words(value.text)) - STOP_WORDS for value in (a, b))
    if not first or not second:
        return "unknown"
    if first <= second or second <= first:
        return "equal" if first == second else "compatible"
    if _initials(a.text) == fold(b.text).replace(".", "") or _initials(b.text) == fold(a.text).replace(".", ""):
        return "compatible"
    return "different" if not first & second else "unknown"


def _initials(text: str) -> str:
    parts = [word for word in words(text) if word not in STOP_WORDS]
    return "".join(word[0] for word in parts) if len(parts) > 1 else ""
