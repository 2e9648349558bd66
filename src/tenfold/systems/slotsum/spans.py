"""Derived spans against gold references, as section 2 of the specification counts them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenfold.systems.slotsum.align import Span
from tenfold.systems.slotsum.tokens import STOP_WORDS, words


@dataclass(frozen=True)
class Counts:
    """Of one text: spans right, wrong and unjudged (the entity has no gold reference); gold entities and those found."""

    right: int
    wrong: int
    unjudged: int
    entities: int
    found: int


def count(text: str, spans: Sequence[Span], gold: Mapping[str, Sequence[str]]) -> Counts:
    """Judges each span of a fact by its best token F1 with a gold reference of its entity (right from 0.5)."""
    named = [span for span in spans if span.value]
    right = [span for span in named if _best(text[span.start : span.end], gold.get(span.value, ())) >= 0.5]
    judged = [span for span in named if span.value in gold]
    found = {span.value for span in right}
    return Counts(len(right), len(judged) - len(right), len(named) - len(judged), len(gold), len(found))


def count_kinds(text: str, spans: Sequence[Span], gold: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Per kind of value: spans right, and spans judged."""
    kinds = dict.fromkeys(span.kind for span in spans if span.value)
    counts = {kind: count(text, [span for span in spans if span.kind == kind], gold) for kind in kinds}
    return {kind: [one.right, one.right + one.wrong] for kind, one in counts.items()}


def _best(surface: str, references: Sequence[str]) -> float:
    return max((token_f1(surface, reference) for reference in references), default=0.0)


def token_f1(first: str, second: str) -> float:
    """F1 of folded words, function words left out."""
    bags = [Counter(word for word in words(text) if word not in STOP_WORDS) for text in (first, second)]
    shared = (bags[0] & bags[1]).total()
    return 2 * shared / (bags[0].total() + bags[1].total()) if shared else 0.0
