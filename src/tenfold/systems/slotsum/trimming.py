"""A template without some of its slots: the bare slots, or the smallest clauses that say nothing else.

`clause` deletes a clause all of whose slots are gone, with the conjunction that led to it; a slot that is gone from a clause
which says more is deleted bare, with a preposition or article left stranded before it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tenfold.systems.slotsum.templates import Slot, Template, Text

Discard = Literal["bare", "clause"]
CLAUSE_START = re.compile(r"(?:[,，;；]\s*(?:and |which |who |where |but )?|\s+(?:and|who|which|where|but)\s+)")
SENTENCE_END = re.compile(r"[.!?。！？]+[\"”’)]*(?:\s+|$)|[。！？]")
STRANDED = re.compile(
    r"(?:(?:^|\s+)(?:in|on|at|of|by|from|to|with|for|the|a|an|as|across|under|near|over|through|since|about))+\s*$"
    r"|(?:位于|成立于|出生于|生于|由|于|在)$"
)
SUBJECT = re.compile(r"\s*(?:It|He|She|They|This)\b")
CONJUNCTION = re.compile(r"[,，;；]?\s*(?:and|who|which|where|but)?\s+")


@dataclass(frozen=True)
class Left:
    """What is left of a template, and which of its slots stand in it (by number, in order)."""

    template: Template
    kept: tuple[int, ...]


@dataclass(frozen=True)
class _Part:
    """A piece of the template; `slot` is the slot's number."""

    text: str = ""
    slot: int | None = None


def without(template: Template, gone: Sequence[bool], discard: Discard = "clause") -> Left:
    """The template without the slots that are gone."""
    if not any(gone):
        return Left(template, tuple(range(len(gone))))
    clauses = [[part for part in clause if part.text or part.slot is not None] for clause in _clauses(template)]
    if discard == "clause":
        clauses = _without_clauses(clauses, gone)
    return _joined(_without_slots([part for clause in clauses for part in clause], gone), template)


def _clauses(template: Template) -> list[list[_Part]]:
    """The template cut before every clause and after every sentence."""
    clauses: list[list[_Part]] = [[]]
    number = -1
    for piece in template.pieces:
        if isinstance(piece, Slot):
            number += 1
            clauses[-1].append(_Part(slot=number))
            continue
        for text, starts_new in _cut(piece.text):
            if starts_new and clauses[-1]:
                clauses.append([])
            clauses[-1].append(_Part(text))
    return clauses


def _cut(text: str) -> list[tuple[str, bool]]:
    """(piece, whether a clause begins with it)."""
    cuts = {match.start() for match in CLAUSE_START.finditer(text)}
    ends = {match.end() for match in SENTENCE_END.finditer(text) if match.end() < len(text)}
    places = sorted(cuts | ends | {0, len(text)})
    pieces = [(text[a:b], a > 0 or a in cuts) for a, b in pairwise(places)]
    closed = [place for place, match in enumerate(pieces) if SENTENCE_END.search(match[0])]
    if closed and closed[-1] == len(pieces) - 1:
        pieces.append(("", True))
    return pieces


def _without_clauses(clauses: Sequence[list[_Part]], gone: Sequence[bool]) -> list[list[_Part]]:
    """A clause that went leaves its sentence's end to the one before it, and its pronoun to the one after it."""
    kept: list[list[_Part]] = []
    subject = ""
    for clause in clauses:
        if subject:
            clause = _with_subject(clause, subject)
        slots = [part.slot for part in clause if part.slot is not None]
        if not slots or not all(gone[slot] for slot in slots):
            kept.append(clause)
            subject = ""
            continue
        end = SENTENCE_END.search("".join(part.text for part in clause))
        begun = SUBJECT.match(clause[0].text)
        subject = "" if end else begun[0] if begun else subject
        follows = kept and not SENTENCE_END.search("".join(part.text for part in kept[-1]))
        if end and follows:
            kept[-1].append(_Part(end[0]))
    return kept


def _with_subject(clause: list[_Part], subject: str) -> list[_Part]:
    return [_Part(f"{subject} {CONJUNCTION.sub('', clause[0].text, count=1)}"), *clause[1:]]


def _without_slots(parts: Sequence[_Part], gone: Sequence[bool]) -> list[_Part]:
    kept: list[_Part] = []
    for part in parts:
        if part.slot is None and kept and kept[-1].text.endswith("是") and part.text.startswith("的"):
            kept.append(_Part(part.text[1:]))
        elif part.slot is None or not gone[part.slot]:
            kept.append(part)
        elif kept and kept[-1].slot is None:
            kept[-1] = _Part(STRANDED.sub("", kept[-1].text).rstrip())
    return kept


def _joined(parts: Sequence[_Part], template: Template) -> Left:
    slots = template.slots
    pieces: list[Text | Slot] = []
    for part in parts:
        if part.slot is not None:
            pieces.append(slots[part.slot])
        elif pieces and isinstance(pieces[-1], Text):
            pieces[-1] = Text(pieces[-1].text + part.text)
        elif part.text:
            pieces.append(Text(part.text if pieces else part.text.lstrip(" ,;，；")))
    return Left(Template(tuple(pieces)), tuple(part.slot for part in parts if part.slot is not None))
