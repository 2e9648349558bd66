"""Planted errors, and the same facts in other words: surfaces of slots come in, wrong or equivalent ones go out.

    swap    the same key of another entity             unit    the same number in a unit that makes it another
    date    1 to 10 years or 1 to 27 days away         number  5 to 50 % away
    name    another entity's name

What is planted is an error by construction, without asking `relate`: the words of neither value contain those of the other.
`restate` writes a fact in an equivalent form; an edit of one is a false edit.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date as calendar
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Literal

from tenfold.systems.slotsum.align import Span
from tenfold.systems.slotsum.dates import Date, SlashDate
from tenfold.systems.slotsum.derive import Derivation
from tenfold.systems.slotsum.forms import DEMONYMS
from tenfold.systems.slotsum.tokens import STOP_WORDS, fold, words
from tenfold.systems.slotsum.units import UNITS
from tenfold.systems.slotsum.values import NUMBER, Value, parse_value
from tenfold.systems.slotsum.verbalise import verbalise

ErrorKind = Literal["swap", "date", "number", "unit", "name"]
KINDS: tuple[ErrorKind, ...] = ("swap", "date", "number", "unit", "name")
TRIES = 20


@dataclass(frozen=True)
class Planted:
    """A text's surfaces after planting: per slot the kind of error, `restated` for an equivalent form, or None."""

    surfaces: tuple[str, ...]
    marks: tuple[str | None, ...]


class Pool:
    """Values to take wrong ones from: by key, and the names of all entities."""

    def __init__(self, facts: Sequence[Sequence[tuple[str, str]]]) -> None:
        self._by_key: Mapping[str, list[str]] = defaultdict(list)
        titles: dict[str, None] = {}
        for pairs in facts:
            for key, value in pairs:
                self._by_key[key].append(value)
                if key == "title":
                    titles[value] = None
        self._titles = list(titles)

    def draw(self, kind: ErrorKind, key: str, random: Random) -> str | None:
        found = self._titles if kind == "name" else self._by_key.get(key, [])
        return random.choice(found) if found else None


def inject_errors(
    derivation: Derivation,
    facts: Sequence[tuple[str, str]],
    pool: Pool,
    *,
    rate: float,
    restated: float = 0.0,
    seed: int = 0,
) -> Planted:
    """Plants an error in a share `rate` of the slots of facts, and writes a share `restated` of the others in other words.

    `facts` are all that is true: another value of a key that has several is no error.
    """
    random = Random(seed)
    surfaces = list(derivation.surfaces)
    kept: list[str | None] = [None] * len(surfaces)
    for place, span in enumerate(derivation.spans):
        if not span.value or span.value == span.key or span.key.endswith(".year"):
            continue
        said, mark = surfaces[place], None
        if random.random() < rate:
            true = tuple(parse_value(value) for key, value in facts if key == span.key)
            said, mark = _wrong(_Place(span, said, true), pool, random)
        elif random.random() < restated:
            said, mark = _restated(span, said, random)
        surfaces[place], kept[place] = said, mark
    return Planted(tuple(surfaces), tuple(kept))


def wrong_value(key: str, value: str, true: Sequence[Value], pool: Pool, random: Random) -> str | None:
    """A wrong value for a fact of which `true` are all values; None where none can be made."""
    parsed = parse_value(value)
    place = _Place(Span(0, 0, key, parsed.kind, 1.0, value), parsed.text, tuple(true))
    written, mark = _wrong(place, pool, random)
    return written if mark else None


@dataclass(frozen=True)
class _Place:
    """A slot: its span, what stands there, and all true values of its key."""

    span: Span
    surface: str
    true: tuple[Value, ...]


def _wrong(place: _Place, pool: Pool, random: Random) -> tuple[str, str | None]:
    """A wrong surface and the kind of error; the surface unchanged where no kind fits."""
    kinds = list(KINDS)
    random.shuffle(kinds)
    for kind in kinds:
        for _ in range(TRIES):
            written = _planted(kind, place, pool, random)
            if (
                written is not None
                and fold(written) != fold(place.surface)
                and all(_is_error(written, true) for true in place.true)
            ):
                return written, kind
    return place.surface, None


def _is_error(written: str, true: Value) -> bool:
    """Whether what is written certainly says something else: other words, another date, another amount in that unit."""
    said = parse_value(written)
    if said.date and true.date:
        pairs = list(zip(said.date.parts, true.date.parts, strict=True))
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)
    if said.amount is not None and true.amount is not None:
        return said.unit != true.unit or said.amount != true.amount
    names = DEMONYMS.get(fold(true.text), "").split()
    return are_apart(said, true) and fold(written) not in names


def _planted(kind: ErrorKind, place: _Place, pool: Pool, random: Random) -> str | None:
    span, surface = place.span, place.surface
    true, said = parse_value(span.value), parse_value(surface)
    if kind == "date":
        return _shifted(true, surface, random) if true.date else None
    if kind == "number":
        return _changed(surface, random) if true.amount is not None else None
    if kind == "unit":
        return _other_unit(said, surface, random) if true.unit in UNITS and said.unit in UNITS else None
    drawn = pool.draw(kind, span.key, random)
    if drawn is None or (kind == "name" and true.kind != "string"):
        return None
    other = parse_value(drawn)
    is_same_kind = other.kind == true.kind and (other.kind != "date" or _shows(other.date, said.date))
    return verbalise(other, surface) if is_same_kind and are_apart(said, other) else None


def _shows(other: Date | None, said: Date | None) -> bool:
    """Whether a date written in the manner of `said` would differ from it."""
    return bool(other and said and other.year and said.year and other.year != said.year)


def are_apart(first: Value, second: Value) -> bool:
    """Whether neither value's words contain the other's."""
    bags = [set(words(value.text)) - STOP_WORDS for value in (first, second)]
    has_amounts = first.amount is not None and second.amount is not None
    return not (bags[0] <= bags[1] or bags[1] <= bags[0]) and not (has_amounts and first.amount == second.amount)


def _shifted(true: Value, surface: str, random: Random) -> str | None:
    """By years where the surface shows a year, else by days."""
    shown = parse_value(surface).date
    if shown is None or isinstance(shown, SlashDate) or shown.year is None:
        return None
    if None in shown.parts or random.random() < 0.5:
        years = random.choice([-1, 1]) * random.randint(1, 10)
        moved = Date(shown.year + years, shown.month, shown.day)
    else:
        moved = _by_days(shown, random.choice([-1, 1]) * random.randint(1, 27))
    return verbalise(Value("", "date", date=moved), surface) or None if moved else None


def _by_days(shown: Date, days: int) -> Date | None:
    year, month, day = shown.parts
    assert year is not None and month is not None and day is not None
    try:
        moved = calendar(year, month, day) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return Date(moved.year, moved.month, moved.day)


def _changed(surface: str, random: Random) -> str | None:
    """The number in the surface moved by 5 to 50 %, with as many decimals; by at least one in the last of them."""
    found = NUMBER.search(surface)
    if not found:
        return None
    shown = Decimal(found[0].replace(",", "").replace("\u2212", "-"))
    places = max(0, -int(shown.as_tuple().exponent))
    factor = Decimal(str(1 + random.choice([-1, 1]) * random.uniform(0.05, 0.5)))
    moved = round(shown * factor, places)
    if moved == shown or abs(moved - shown) * 20 < abs(shown):
        moved = shown + max(Decimal(1).scaleb(-places), round(abs(shown) / 10, places))
    written = f"{moved:,f}" if "," in found[0] else f"{moved:f}"
    return surface[: found.start()] + written + surface[found.end() :]


def _other_unit(said: Value, surface: str, random: Random) -> str | None:
    """Another unit of the same dimension, at least twice or at most half as large."""
    dimension, factor = UNITS[said.unit]
    others = [unit for unit, (kind, size) in UNITS.items() if kind == dimension and unit.isascii() and _is_far(size, factor)]
    found = re.search(rf"{re.escape(said.unit)}\b", surface, re.IGNORECASE)
    if not others or not found:
        return None
    return surface[: found.start()] + random.choice(others) + surface[found.end() :]


def _is_far(size: Decimal, factor: Decimal) -> bool:
    return size >= 2 * factor or 2 * size <= factor


def _restated(span: Span, surface: str, random: Random) -> tuple[str, str | None]:
    others = [written for written in restatements(parse_value(span.value), surface) if written != surface]
    return (random.choice(others), "restated") if others else (surface, None)


def restatements(value: Value, surface: str) -> Iterator[str]:
    """Other ways to say the value: dates in other orders and coarser, other units, thousand marks, names in other
    spelling."""
    if value.date and value.date.year is not None:
        for manner in ("2000-01-01", "1 January 2000", "January 1, 2000", "1st of January, 2000", "2000", "2000年1月1日"):
            yield verbalise(value, manner)
    elif value.amount is not None:
        whole = value.amount == value.amount.to_integral_value()
        yield f"{value.amount:,f} {value.unit}".strip()
        if value.unit in UNITS and not whole:
            yield f"{value.amount:f}0 {value.unit}"
        if value.unit == "cm":
            yield f"{value.amount / 100:f} m"
        if value.unit in ("m", "metres", "meters"):
            yield f"{value.amount * 100:f} cm"
    elif value.kind == "string":
        parts = surface.split()
        yield surface.upper()
        if len(parts) == 2 and all(part.isalpha() for part in parts):
            yield f"{parts[1]}, {parts[0]}"
        yield replace(value, text=f"the {surface}").text
