"""A grounded text explained on one page that needs nothing else: what stands where, why, and what was changed.

Everything that comes from documents, models or knowledge bases is escaped by the template engine.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

MEANINGS = {
    "kept": "the knowledge base does not say otherwise",
    "corrected": "replaced by the knowledge base's value",
    "filled": "taken from the knowledge base",
    "predicted": "read in a document",
    "unsupported": "predicted, but no source says it",
    "missing": "nothing is known; named or hedged",
    "discarded": "left out",
}
COLOURS = {
    "kept": "#d7f0d9",
    "corrected": "#ffe0b3",
    "filled": "#cfe8ff",
    "predicted": "#e4e0fb",
    "unsupported": "#f9d0d0",
    "missing": "#eeeeee",
    "discarded": "#dddddd",
}


def explain(summary: Mapping[str, Any]) -> str:
    """The page of a summary's row (`Summary.row`) as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = (files("tenfold.systems.slotsum") / "explanation.html").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        summary=summary, pieces=pieces_of(summary), documents=_documents(summary), meanings=MEANINGS, colours=COLOURS
    )


def pieces_of(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The text cut at the surfaces of its slots, in order; a slot that is left out has no surface."""
    pieces: list[dict[str, Any]] = []
    text, place = summary["text"], 0
    for number, slot in enumerate(summary["slots"], start=1):
        surface = slot["surface"]
        if not surface or slot["action"] == "discarded":
            continue
        start = _find(text, surface, place)
        if start < 0:
            continue
        pieces += [{"text": text[place:start]}, {"text": text[start : start + len(surface)], "slot": slot, "number": number}]
        place = start + len(surface)
    return [piece for piece in [*pieces, {"text": text[place:]}] if piece["text"]]


def _find(text: str, surface: str, place: int) -> int:
    """The first letter of a text may have become a capital."""
    found = text.find(surface, place)
    return found if found >= 0 else text.lower().find(surface.lower(), place)


def _documents(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each document cut at the first evidence of each slot; overlapping evidence is shown once."""
    shown: dict[str, list[tuple[int, int, int, str]]] = {}
    for number, slot in enumerate(summary["slots"], start=1):
        for pointer in slot["evidence"][:1]:
            shown.setdefault(pointer["doc_id"], []).append((pointer["start"], pointer["end"], number, slot["action"]))
    return [{"id": one["id"], "pieces": _cut(one["text"], sorted(shown.get(one["id"], [])))} for one in summary["documents"]]


def _cut(text: str, spans: list[tuple[int, int, int, str]]) -> list[dict[str, Any]]:
    pieces: list[dict[str, Any]] = []
    place = 0
    for start, end, number, action in spans:
        if start >= place:
            pieces += [{"text": text[place:start]}, {"text": text[start:end], "number": number, "action": action}]
            place = end
    return [*pieces, {"text": text[place:]}]
