"""When two values say the same: typed values come in, a relation goes out.

Only `different` may ever trigger an edit; what cannot be told is `unknown` and stays as it is.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from rapidfuzz import fuzz

from tenfold.systems.slotsum.align import candidates
from tenfold.systems.slotsum.dates import Date
from tenfold.systems.slotsum.forms import forms
from tenfold.systems.slotsum.reading import Reading
from tenfold.systems.slotsum.tokens import STOP_WORDS, fold, words
from tenfold.systems.slotsum.units import shared_scale
from tenfold.systems.slotsum.values import Value, parse_value

Relation = Literal["equal", "compatible", "different", "unknown"]
HONORIFICS = frozenset(["mr", "mrs", "ms", "dr", "prof", "professor", "sir", "dame", "lord", "lady", "st"])
CODE_DIGITS = 8
LONG_FORM, BARE = 0.90, 0.97
DISAMBIGUATOR = re.compile(r"\s*\([^()]*\)\s*$")
LIKE, LIKE_ALONE = 75.0, 88.0
"""Likeness from which two words may be spellings of one, among others and alone; then names are not called different."""


def relate_texts(first: str, second: str) -> Relation:
    """`relate` of two raw values."""
    return relate(parse_value(first), parse_value(second))


def relate(a: Value, b: Value) -> Relation:
    """Whether two values say the same; symmetric."""
    if fold(a.text) == fold(b.text) or (words(a.text) and words(a.text) == words(b.text)):
        return "equal"
    if _squeezed(a.text) == _squeezed(b.text) and len(_digits(a.text)) >= CODE_DIGITS:
        return "equal"  # an ISBN with and without its hyphens
    a, b = _as_number(a, b), _as_number(b, a)
    if a.amount is not None and b.amount is not None:
        return _relate_amounts(a, b)
    if a.date and b.date:
        return _relate_dates(a.date, b.date)
    if "list" in (a.kind, b.kind):
        return _relate_sets(set(a.parts or (a.text,)), set(b.parts or (b.text,)))
    if {a.kind, b.kind} <= {"string", "code"}:
        return _relate_names(a, b)
    return "unknown"


def _as_number(value: Value, other: Value) -> Value:
    """A bare year beside an amount is a number: 1873 and 1873.0."""
    is_bare = value.date is not None and value.date.parts[1:] == (None, None) and value.text.isdecimal()
    return Value(value.text, "quantity", amount=Decimal(value.text)) if is_bare and other.amount is not None else value


def _relate_dates(a: Date, b: Date) -> Relation:
    if not a.agrees(b):
        return "different" if _overlap(a, b) else "unknown"
    return "equal" if a.parts == b.parts else "compatible"


def _overlap(a: Date, b: Date) -> bool:
    return any(None not in pair for pair in zip(a.parts, b.parts, strict=True))


def _relate_amounts(a: Value, b: Value) -> Relation:
    """Equal numbers, or within half a unit of the last digit shown, after conversion."""
    assert a.amount is not None and b.amount is not None
    scale = shared_scale(a.unit, b.unit)
    if scale is None:
        return "unknown"
    amounts = a.amount * scale[0], b.amount * scale[1]
    if amounts[0] == amounts[1]:
        return "equal"
    slack = max(_half(a, b) * scale[0], _half(b, a) * scale[1])
    return "compatible" if abs(amounts[0] - amounts[1]) <= slack else "different"


def _half(value: Value, other: Value) -> Decimal:
    """Half a unit of the last digit shown; a whole number is exact unless the other shows decimals or another unit."""
    assert value.amount is not None and other.amount is not None
    places = max(0, -int(value.amount.as_tuple().exponent))
    if value.unit != other.unit and value.unit and other.unit:
        return Decimal(1).scaleb(-places)  # converted, and perhaps cut off instead of rounded
    is_rounded = places > 0 or other.amount != int(other.amount)
    return Decimal(5).scaleb(-places - 1) if is_rounded else Decimal(0)


def _relate_sets(first: set[str], second: set[str]) -> Relation:
    """Lists as sets; a part of a list is compatible with it."""
    sets = [{fold(part) for part in parts} for parts in (first, second)]
    if sets[0] == sets[1]:
        return "equal"
    return "compatible" if sets[0] <= sets[1] or sets[1] <= sets[0] else "different"


def _relate_names(a: Value, b: Value) -> Relation:
    """Names up to order, accents, honorifics, initials, acronyms, demonyms and containment; codes to the letter."""
    first, second = _kept(a.text), _kept(b.text)
    if not first or not second:
        return "unknown"
    if sorted(first) == sorted(second):
        return "equal"
    if "code" in (a.kind, b.kind) and _digits(a.text) and _digits(b.text):
        return "equal" if _squeezed(a.text) == _squeezed(b.text) else "different"
    if set(first) <= set(second) or set(second) <= set(first):
        return "compatible"
    if _is_form(second, a) or _is_form(first, b) or _is_acronym(first, second) or _is_acronym(second, first):
        return "compatible"
    if _fits_initials(first, second):
        return "compatible"
    is_like = _digits(a.text) == _digits(b.text) and (_is_like(a, b) or _is_like(b, a))
    return "unknown" if is_like or _is_said(a, b) or _is_said(b, a) else "different"


def _is_like(said: Value, value: Value) -> bool:
    """Whether a name may be a misspelling of the value, or of one of its longer forms: word by word."""
    words_said = _kept(DISAMBIGUATOR.sub("", said.text))
    return any(_is_misspelt(words_said, form) for form in _long_forms_of(value))


def _is_misspelt(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    left = [word for word in first if word not in second]
    rest = [word for word in second if word not in first]
    least = LIKE_ALONE if len(first) == 1 else LIKE
    return len(left) == len(rest) and all(max(fuzz.ratio(word, other) for other in rest) >= least for word in left)


def _is_said(text: Value, value: Value) -> bool:
    """Whether the aligner would find the value in the whole of the text."""
    spans = candidates(Reading(text.text), "", value.text)
    return any(not _kept(text.text[: span.start]) and not _kept(text.text[span.end :]) for span in spans)


def _kept(text: str) -> tuple[str, ...]:
    return tuple(word for word in words(text) if word not in STOP_WORDS | HONORIFICS)


def _digits(text: str) -> str:
    return "".join(re.findall(r"\d", text))


def _squeezed(text: str) -> str:
    return re.sub(r"[\W_]", "", fold(text))


@lru_cache(maxsize=65536)
def _forms_of(value: Value) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(word for word in form.words if word not in STOP_WORDS) for form in forms(value))


@lru_cache(maxsize=65536)
def _long_forms_of(value: Value) -> tuple[tuple[str, ...], ...]:
    """The bare name, and its forms of some weight, without function words."""
    shorter = (form.words for form in forms(value) if LONG_FORM < form.weight < BARE)
    named = (_kept(DISAMBIGUATOR.sub("", value.text)), *shorter)
    return tuple(tuple(word for word in one if word not in STOP_WORDS) for one in named)


def _is_form(said: tuple[str, ...], value: Value) -> bool:
    return said in _forms_of(value)


def _is_acronym(short: tuple[str, ...], long: tuple[str, ...]) -> bool:
    """Whether what only the short name has are the initials of what only the long one has: UT Austin."""
    left, rest = [word for word in short if word not in long], [word for word in long if word not in short]
    return len(left) == 1 and len(rest) > 1 and left[0] == "".join(word[0] for word in rest)


def _fits_initials(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """J. V. Jones and Julie Victoria Jones: one last name, and one side gives initials of the other."""
    if first[-1] != second[-1] or len(first) < 2 or len(second) < 2:
        return False
    sides = ["".join(_initials(name[:-1])) for name in (first, second)]
    return any(all(len(word) <= 3 for word in name[:-1]) for name in (first, second)) and (
        sides[0].startswith(sides[1]) or sides[1].startswith(sides[0])
    )


def _initials(names: tuple[str, ...]) -> Iterator[str]:
    """Short names are initials already: JV."""
    yield from (name if len(name) <= 2 else name[0] for name in names)
