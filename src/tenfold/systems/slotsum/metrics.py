"""How grounded a text is: a text, its documents and the true facts come in, one verdict per fact goes out (section 6).

    supported     true, and a document says it         contradicted   a document says it, the knowledge base something else
    known         true, but only the base says it      hallucinated   neither a document nor the base says it
    missing       a fact of the reference that the text does not say

Facts of a text are the spans that say a true value, and what is left of dates, numbers and names.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tenfold.systems.slotsum.derive import derive_template
from tenfold.systems.slotsum.documents import Document
from tenfold.systems.slotsum.flagging import flag
from tenfold.systems.slotsum.provenance import DocSpan, Evidence
from tenfold.systems.slotsum.relations import relate_texts
from tenfold.systems.slotsum.templates import Template

Verdict = Literal["supported", "known", "contradicted", "hallucinated"]
VERDICTS: tuple[Verdict, ...] = ("supported", "known", "contradicted", "hallucinated")
Likeness = Callable[[Sequence[str], Sequence[str]], Sequence[float]]
"""A hook for a learned measure such as BERTScore or an entailment model: (texts, references) -> a score each."""


@dataclass(frozen=True)
class FactScore:
    """One fact of a text: its characters, the key it speaks of (empty if unknown), the verdict, and where it is said."""

    start: int
    end: int
    key: str
    verdict: Verdict
    evidence: tuple[DocSpan, ...] = ()


@dataclass(frozen=True)
class FactReport:
    """The facts of a text, and the keys of the reference's facts that it does not say."""

    facts: tuple[FactScore, ...]
    missing: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(fact.verdict for fact in self.facts)
        return {**{verdict: found[verdict] for verdict in VERDICTS}, "missing": len(self.missing), "facts": len(self.facts)}


def score_facts(
    text: str, documents: Sequence[Document], facts: Sequence[tuple[str, str]], *, reference: str | None = None
) -> FactReport:
    """Judges every fact of a text; `facts` are all that is true, `reference` tells which of them it should say (all)."""
    evidence = Evidence(documents)
    said = [span for span in derive_template(text, facts).spans if span.value]
    true = [_true(span.start, span.end, span.key, evidence.find(span.value)) for span in said]
    false = [_false(one.start, one.end, text, evidence) for one in flag(text, facts)]
    values = {span.value for span in said}
    wanted = (
        facts
        if reference is None
        else [(one.key, one.value) for one in derive_template(reference, facts).spans if one.value]
    )
    missing = dict.fromkeys(key for key, value in wanted if value not in values)
    return FactReport(tuple(sorted([*true, *false], key=lambda fact: fact.start)), tuple(missing))


def _true(start: int, end: int, key: str, found: Sequence[DocSpan]) -> FactScore:
    return FactScore(start, end, key, "supported" if found else "known", tuple(found))


def _false(start: int, end: int, text: str, evidence: Evidence) -> FactScore:
    surface = text[start:end].rstrip(".,;: ")
    found = evidence.occurrences(surface) or evidence.find(surface)
    return FactScore(start, start + len(surface), "", "contradicted" if found else "hallucinated", tuple(found))


@dataclass(frozen=True)
class SlotCounts:
    """Slots predicted and wanted, and those that agree."""

    right: int = 0
    predicted: int = 0
    wanted: int = 0

    def __add__(self, other: "SlotCounts") -> "SlotCounts":
        return SlotCounts(self.right + other.right, self.predicted + other.predicted, self.wanted + other.wanted)

    @property
    def scores(self) -> dict[str, float]:
        """Precision, recall and F1; 0 where there is nothing to divide by."""
        precision = self.right / self.predicted if self.predicted else 0.0
        recall = self.right / self.wanted if self.wanted else 0.0
        f1 = 2 * self.right / (self.predicted + self.wanted) if self.right else 0.0
        return {"precision": precision, "recall": recall, "f1": f1}


def key_counts(template: Template, gold: Template) -> SlotCounts:
    """Slots by their keys, each as often as it stands there; anonymous ones count too."""
    bags = [Counter(slot.key for slot in one.slots) for one in (template, gold)]
    return SlotCounts((bags[0] & bags[1]).total(), bags[0].total(), bags[1].total())


def value_counts(
    predicted: Mapping[str, str | None], wanted: Mapping[str, Sequence[str]], *, strict: bool = False
) -> SlotCounts:
    """Values by key: right if related to any true value, `strict` only if equal to one."""
    good = ("equal",) if strict else ("equal", "compatible")
    given = {key: value for key, value in predicted.items() if value is not None}
    right = sum(any(relate_texts(value, true) in good for true in wanted.get(key, ())) for key, value in given.items())
    return SlotCounts(right, len(given), len(wanted))
