"""Where a fact comes from: characters of a document, or a statement of a knowledge base. Every pointer can be followed.

Offsets count characters of the document as it was given, whatever was clipped from it for the model.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenfold.systems.slotsum.align import candidates
from tenfold.systems.slotsum.documents import Document
from tenfold.systems.slotsum.reading import Reading
from tenfold.systems.slotsum.relations import relate_texts
from tenfold.systems.slotsum.tokens import fold
from tenfold.systems.slotsum.values import clean


@dataclass(frozen=True)
class DocSpan:
    """Characters [start, end) of a document."""

    doc_id: str
    start: int
    end: int


@dataclass(frozen=True)
class StatementRef:
    """A statement of the knowledge base: its entity, key, number among the values, and rank."""

    entity: str
    key: str
    id: str
    rank: str


class Evidence:
    """Documents made ready to be searched for values; each is read once for all slots."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = {document.id: document for document in documents}
        self._readings = {document.id: Reading(document.text) for document in documents}

    def find(self, value: str, *, near: Sequence[str] = ()) -> list[DocSpan]:
        """All places that say the value, those nearest to a mention of `near` (title, label) first.

        A place counts only if its text is equal to the value or compatible with it.
        """
        found = [
            (self._distance(doc_id, span.start, near), number, DocSpan(doc_id, span.start, span.end))
            for number, (doc_id, reading) in enumerate(self._readings.items())
            for span in candidates(reading, "", value)
            if supports(reading.text[span.start : span.end], value)
        ]
        return [span for _, _, span in sorted(set(found), key=lambda item: (item[0], item[1], item[2].start, -item[2].end))]

    def occurrences(self, text: str, *, near: Sequence[str] = ()) -> list[DocSpan]:
        """All places where exactly this text stands between the ends of words, those nearest to `near` first."""
        if not text:
            return []
        pattern = re.compile(rf"(?<![^\W_]){re.escape(text)}(?![^\W_])" if text.isascii() else re.escape(text))
        found = [
            (self._distance(name, match.start(), near), number, match.start(), DocSpan(name, *match.span()))
            for number, (name, document) in enumerate(self.documents.items())
            for match in pattern.finditer(document.text)
        ]
        return [span for _, _, _, span in sorted(found, key=lambda item: item[:3])]

    def text(self, span: DocSpan) -> str:
        """What stands there."""
        return self.documents[span.doc_id].text[span.start : span.end]

    def is_valid(self, span: DocSpan, value: str) -> bool:
        """Whether the pointer leads to a place that says the value."""
        document = self.documents.get(span.doc_id)
        is_inside = document is not None and 0 <= span.start < span.end <= len(document.text)
        return is_inside and supports(self.text(span), value)

    def _distance(self, doc_id: str, place: int, near: Sequence[str]) -> int:
        folded = fold(self.documents[doc_id].text)
        places = [folded.find(fold(clean(name))) for name in near if name]
        return min((abs(place - found) for found in places if found >= 0), default=len(folded))


def supports(said: str, value: str) -> bool:
    """Whether a text says a value: equal to it, or compatible."""
    return relate_texts(said, value) in ("equal", "compatible")


def pointer(span: DocSpan | StatementRef | None) -> Mapping[str, str | int] | None:
    """A pointer as plain JSON."""
    return dict(vars(span)) if span else None
