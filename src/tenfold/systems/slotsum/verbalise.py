"""A value in the words of its place: dates, numbers and demonyms are written as the text that they replace was written.

The style comes from the replaced text, else it is the language's usual one (en, zh). What is written always says the
value: if a style cannot (a height of 1.88 m in whole metres), the value is written as the knowledge base has it.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

from tenfold.systems.slotsum.dates import MONTHS, Date, find_dates
from tenfold.systems.slotsum.forms import DEMONYMS
from tenfold.systems.slotsum.relations import relate
from tenfold.systems.slotsum.tokens import fold
from tenfold.systems.slotsum.units import shared_scale
from tenfold.systems.slotsum.values import NUMBER, Value, parse_value

Lang = Literal["en", "zh"]
DATE_STYLES = (  # how a surface looks, and how a date with all its parts is written like it
    (r"\d{4}-\d{1,2}-\d{1,2}", "{y:04d}-{m:02d}-{d:02d}"),
    (r"\d{4}/\d{1,2}/\d{1,2}", "{y}/{m}/{d}"),
    (r"\d{4}年.*", "{y}年{m}月{d}日"),
    (r"\d{1,2}(?:st|nd|rd|th) of .*", "{d}{th} of {month}, {y}"),
    (r"\d{1,2}(?:st|nd|rd|th) .*", "{d}{th} {month} {y}"),
    (r"[A-Za-z]+\.? \d{1,2}(?:st|nd|rd|th),? .*", "{month} {d}{th}, {y}"),
    (r"[A-Za-z]+\.? \d{1,2},? .*", "{month} {d}, {y}"),
    (r"\d{1,2} .*", "{d} {month} {y}"),
)
MONTH_STYLES = {"en": "{month} {y}", "zh": "{y}年{m}月"}
FULL_STYLES = {"en": "{d} {month} {y}", "zh": "{y}年{m}月{d}日"}
LIST_COMMA = {"en": ", ", "zh": "、"}


def verbalise(value: Value, surface: str = "", lang: Lang = "en") -> str:
    """The value written in the manner of `surface`; `relate` of the two never says `different`."""
    for written in _attempts(value, surface, lang):
        if written and relate(value, parse_value(written)) != "different":
            return written
    return value.text


def _attempts(value: Value, surface: str, lang: Lang) -> Iterator[str]:
    if value.date:
        yield _date(value.date, surface, lang)
    elif value.amount is not None:
        yield _quantity(value, surface)
    elif value.parts:
        yield LIST_COMMA[lang].join(value.parts)
    elif fold(surface) in _ADJECTIVES and _adjective(value):
        yield _adjective(value)


def _date(date: Date, surface: str, lang: Lang) -> str:
    """A surface that says only a year, or month and year, gets no more than that."""
    shown = next((found for start, end, found in find_dates(surface) if (start, end) == (0, len(surface))), None)
    year, month, day = date.parts
    if year is None:
        return ""
    if month is None or (shown and shown.month is None):
        return f"{year}年" if "年" in surface or (lang == "zh" and not surface) else str(year)
    if day is None or (shown and shown.day is None):
        return MONTH_STYLES["zh" if "年" in surface else lang].format(**_parts(year, month, 1))
    styles = (style for pattern, style in DATE_STYLES if re.fullmatch(pattern, surface))
    return next(styles, FULL_STYLES[lang]).format(**_parts(year, month, day))


def _parts(year: int, month: int, day: int) -> dict[str, str | int]:
    ending = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return {"y": year, "m": month, "d": day, "month": MONTHS[month - 1].capitalize(), "th": ending}


def _quantity(value: Value, surface: str) -> str:
    """In the surface's unit, with its decimals and thousand marks, and its spelling of the unit."""
    assert value.amount is not None
    shown = NUMBER.search(surface)
    if not shown:
        return _plain(value)
    tail = surface[shown.end() :]
    unit = fold(tail).strip(" ().-")
    scale = shared_scale(value.unit, unit) if unit else (Decimal(1), Decimal(1))
    if scale is None:
        return _plain(value)
    places = len(shown[0].partition(".")[2])
    amount = value.amount * scale[0] / scale[1]
    written = f"{round(amount, places):,f}" if "," in shown[0] else f"{round(amount, places):f}"
    return f"{surface[: shown.start()]}{written}{tail}" if unit else f"{written} {value.unit}".strip()


def _plain(value: Value) -> str:
    """As the knowledge base has it, but 1411.0 is written 1411."""
    assert value.amount is not None
    if "," in value.text:
        return value.text
    whole = value.amount == value.amount.to_integral_value()
    return f"{value.amount.to_integral_value() if whole else value.amount:f} {value.unit}".strip()


_ADJECTIVES = frozenset(name for names in DEMONYMS.values() for name in names.split())


def _adjective(value: Value) -> str:
    names = DEMONYMS.get(fold(value.text), "").split()
    return names[0].capitalize() if names else ""
