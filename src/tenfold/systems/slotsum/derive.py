"""From a text and its facts to a template: what the facts say becomes slots, and no numeral stays outside them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.core.errors import ConfigError
from tenfold.systems.slotsum.align import Span, align
from tenfold.systems.slotsum.dates import find_dates
from tenfold.systems.slotsum.templates import Slot, Template, Text
from tenfold.systems.slotsum.values import parse_value

NUMERAL = re.compile(r"\d(?:[\d.,:/\u2013-]*\d)?")

YEAR = re.compile(r"(?<!\d)[12]\d{3}(?!\d)")
ORDINAL = re.compile(r"(?<![^\W_])\d+(?:st|nd|rd|th)(?![^\W_])")


@dataclass(frozen=True)
class Derivation:
    """A template, the spans of its slots in the text (in order), and what the text says there."""

    template: Template
    spans: tuple[Span, ...]
    surfaces: tuple[str, ...]


def derive_template(text: str, facts: Sequence[tuple[str, str]]) -> Derivation:
    """The template of a text and its (key, value) pairs; `template.render(surfaces)` is the text again, always.

    Raises:
        ConfigError: a key holds a character that markers are made of.
    """
    bad = next((key for key, _ in facts if re.search(r"[\[\]#]", key) or not key.strip()), None)
    if bad is not None:
        raise ConfigError(f"key {bad!r} cannot name a slot; use a name without [, ] and #")
    spans = align(text, [*facts, *implied_facts(facts)])
    return build(text, sorted([*spans, *_unexplained(text, spans)], key=lambda span: span.start))


def implied_facts(facts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What facts say beside their value: the year inside a longer one, `(key.year, 1955)` of "UT Austin, B.S. 1955", and the
    ordinal inside a key, `(1st, 1st)` of `1st_runway_SurfaceType`."""
    found: list[tuple[str, str]] = []
    for key, raw in facts:
        if parse_value(raw).kind == "string":
            found += ((f"{key}.year", year) for year in YEAR.findall(raw))
        found += ((word, word) for word in ORDINAL.findall(key))
    return list(dict.fromkeys(found))


def build(text: str, spans: Sequence[Span]) -> Derivation:
    """The template whose slots are these spans, which stand in order and do not overlap."""
    pieces: list[Text | Slot] = []
    counts: Counter[str] = Counter()
    place = 0
    for span in spans:
        if text[place : span.start]:
            pieces.append(Text(text[place : span.start]))
        counts[span.key] += 1
        pieces.append(Slot(span.key, span.kind, counts[span.key]))
        place = span.end
    if text[place:]:
        pieces.append(Text(text[place:]))
    return Derivation(Template(tuple(pieces)), tuple(spans), tuple(text[span.start : span.end] for span in spans))


def has_digit(text: str) -> bool:
    """Whether any character is a number (Unicode classes N*, so also full-width digits and fractions)."""
    return any(unicodedata.category(letter)[0] == "N" for letter in text)


def _unexplained(text: str, spans: Sequence[Span]) -> list[Span]:
    """Dates and numerals that no fact explains, as anonymous slots."""
    taken = [(span.start, span.end) for span in spans]
    found: list[Span] = []
    numerals = ((match.start(), match.end(), "number") for match in NUMERAL.finditer(text))
    single = ((place, place + 1, "number") for place, letter in enumerate(text) if has_digit(letter))
    for start, end, kind in [*((start, end, "date") for start, end, _ in find_dates(text)), *numerals, *single]:
        if not any(begin < end and start < stop for begin, stop in taken):
            taken.append((start, end))
            found.append(Span(start, end, f"?{kind}", kind, 0.0))
    return found
