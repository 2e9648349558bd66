"""Errors in a flat text, of which no template is known: the text and a knowledge base come in, suspicious spans go out.

What the base's values explain is right. What is left of dates, numbers and proper names is suspicious; if the base
has just one value of that kind that the text does not say, that value is the correction.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.systems.slotsum.derive import Derivation, derive_template
from tenfold.systems.slotsum.templates import ANONYMOUS
from tenfold.systems.slotsum.tokens import fold
from tenfold.systems.slotsum.values import parse_value
from tenfold.systems.slotsum.verbalise import verbalise

NAME = re.compile(r"[A-Z][\w.'’-]*(?:\s+(?:of|the|and|de|in)\s+(?=[A-Z])|\s+[A-Z][\w.'’-]*)*")
SENTENCE_START = re.compile(r"(?:^|[.!?]\s+)$")
KIND_OF = {"date": "date", "number": "quantity"}


@dataclass(frozen=True)
class Flag:
    """Characters [start, end) that no value of the base explains, and the value that belongs there, if it is certain."""

    start: int
    end: int
    kind: str
    correction: str | None = None


def flag(text: str, facts: Sequence[tuple[str, str]]) -> list[Flag]:
    """The suspicious spans of a text, in order."""
    derived = derive_template(text, facts)
    spans = [*_numbers(derived), *_names(text, derived)]
    unsaid = _unsaid(derived, facts)
    return [Flag(start, end, kind, _correction(text[start:end], kind, spans, unsaid)) for start, end, kind in sorted(spans)]


def _numbers(derived: Derivation) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, KIND_OF[span.kind]) for span in derived.spans if span.key.startswith(ANONYMOUS)]


def _names(text: str, derived: Derivation) -> list[tuple[int, int, str]]:
    """Runs of capitalised words outside slots; a single word that begins a sentence is no name."""
    found: list[tuple[int, int, str]] = []
    place = 0
    for start, end in [*((span.start, span.end) for span in derived.spans), (len(text), len(text))]:
        for match in NAME.finditer(text, place, start):
            begins = bool(SENTENCE_START.search(text[: match.start()]))
            if not begins or " " in match[0].strip():
                found.append((match.start(), match.end(), "string"))
        place = end
    return found


def _unsaid(derived: Derivation, facts: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """By kind, the values that the text does not say."""
    said = {span.value for span in derived.spans}
    unsaid: dict[str, list[str]] = {}
    for _, value in facts:
        if value not in said:
            unsaid.setdefault(parse_value(value).kind, []).append(value)
    return unsaid


def _correction(surface: str, kind: str, spans: Sequence[tuple[int, int, str]], unsaid: dict[str, list[str]]) -> str | None:
    """Certain only where one span and one value of that kind are left."""
    kinds = ("string", "code") if kind == "string" else (kind, "code") if kind == "quantity" else (kind,)
    values = [value for name in kinds for value in unsaid.get(name, [])]
    rivals = [span for span in spans if span[2] == kind]
    if len(values) != 1 or len(rivals) != 1 or fold(values[0]) == fold(surface):
        return None
    return verbalise(parse_value(values[0]), surface)
