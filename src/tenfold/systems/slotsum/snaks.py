"""Wikidata's values as text: a data value of its JSON comes in, what it says goes out (dates by precision, units in
words)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNIT_ITEMS = {
    "Q11573": "m", "Q174728": "cm", "Q174789": "mm", "Q828224": "km", "Q218593": "inch", "Q3710": "ft", "Q253276": "mi",
    "Q11570": "kg", "Q41803": "g", "Q191118": "tonne", "Q100995": "lb", "Q11574": "s", "Q7727": "min", "Q25235": "h",
    "Q573": "day", "Q25343": "m2", "Q712226": "km2", "Q35852": "ha", "Q81292": "acre",
}  # fmt: skip
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
YEAR_PRECISION, MONTH_PRECISION, DAY_PRECISION = 9, 10, 11
TIME = re.compile(r"([+-])0*(\d+)-(\d\d)-(\d\d)T")


@dataclass(frozen=True)
class Said:
    """What a data value says: text, or the item whose label says it."""

    text: str = ""
    item: str = ""


def read_value(datavalue: Mapping[str, Any]) -> Said | None:
    """The reading of a snak's data value; None for a kind that says nothing in words, or one that is broken."""
    kind, value = datavalue.get("type"), datavalue.get("value")
    if kind == "string":
        return Said(str(value)) if value else None
    if not isinstance(value, Mapping):
        return None
    if kind == "wikibase-entityid":
        return _entity(value)
    if kind == "time":
        return _said(read_time(str(value.get("time", "")), int(value.get("precision", DAY_PRECISION))))
    if kind == "quantity":
        return _said(_quantity(value))
    if kind == "monolingualtext":
        return _said(str(value.get("text", "")))
    if kind == "globecoordinate":
        return Said(f"{value.get('latitude')}, {value.get('longitude')}")
    return None


def _said(text: str) -> Said | None:
    return Said(text) if text else None


def _entity(value: Mapping[str, Any]) -> Said | None:
    """Old dumps give `numeric-id` alone."""
    if value.get("id"):
        return Said(item=str(value["id"]))
    letter = "P" if value.get("entity-type") == "property" else "Q"
    return Said(item=f"{letter}{value['numeric-id']}") if value.get("numeric-id") else None


def read_time(time: str, precision: int) -> str:
    """A date as far as its precision goes; parts beyond it are written 00 and say nothing."""
    match = TIME.match(time)
    if not match:
        return ""
    sign, year, month, day = match[1], match[2], int(match[3]), int(match[4])
    era = " BC" if sign == "-" else ""
    if precision < YEAR_PRECISION:
        return f"{year}s{era}" if precision == YEAR_PRECISION - 1 else ""
    if precision == YEAR_PRECISION or not 1 <= month <= 12:
        return f"{year}{era}"
    if precision == MONTH_PRECISION or not day:
        return f"{MONTHS[month - 1]} {year}{era}"
    return f"{int(year):04d}-{month:02d}-{day:02d}" if not era else f"{day} {MONTHS[month - 1]} {year}{era}"


def _quantity(value: Mapping[str, Any]) -> str:
    amount = str(value.get("amount", "")).lstrip("+")
    unit = str(value.get("unit", "1")).rpartition("/")[2]
    name = UNIT_ITEMS.get(unit, "")
    return f"{amount} {name}".strip() if unit in ("1", "") or name else f"{amount} ({unit})"
