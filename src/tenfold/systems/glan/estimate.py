"""What a data set will cost, before anything is asked: calls by kind, and tokens by what such calls have cost so far.

Means come from the ledger, so a small pilot with the same teacher makes the estimate good. A kind of which the ledger holds
nothing is taken at typical values of a large model, which may be far off for another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.store.ledger import Ledger
from tenfold.systems.glan.asking import KINDS
from tenfold.systems.glan.budget import Spending, spent_in
from tenfold.systems.glan.planner import Planner
from tenfold.systems.glan.reading import Reader
from tenfold.systems.glan.tree import Discipline

TYPICAL = {
    "subjects": (80, 900),
    "subjects_jsonl": (1050, 900),
    "syllabus": (110, 1500),
    "syllabus_extract": (1700, 700),
    "repair": (2000, 700),
    "question": (1700, 90),
    "answer": (90, 450),
}
"""Tokens of prompt and reply."""
SUBJECTS_PER_QUERY = 12
"""New subjects that a query brings, where nothing is known yet."""


@dataclass(frozen=True)
class Estimate:
    """What is still to be asked."""

    calls: dict[str, int]
    spending: Spending
    from_pilot: tuple[str, ...]
    """Kinds whose tokens were measured; those of the others are typical values."""


def estimate(planner: Planner, ledger: Ledger, disciplines: Sequence[Discipline]) -> Estimate:
    """Calls and tokens that `generate` would still cost."""
    reader = Reader(planner, ledger)
    for _ in reader.pairs(disciplines):
        pass
    expected = _expected(planner, reader, len(disciplines))
    left = {kind: max(0, round(number) - reader.calls[kind]) for kind, number in expected.items()}
    means = {kind: _mean(ledger, kind) for kind in KINDS}
    spending = Spending(calls=sum(left.values()))
    for kind, number in left.items():
        prompt, completion = means[kind] or TYPICAL[kind]
        spending.prompt_tokens += round(number * prompt)
        spending.completion_tokens += round(number * completion)
    return Estimate(left, spending, tuple(kind for kind in left if means[kind]))


def _expected(planner: Planner, reader: Reader, num_disciplines: int) -> dict[str, float]:
    """Calls of the whole data set by kind; subjects per discipline as they were where they are known."""
    config = planner.config
    known = [tally.subjects for tally in reader.tallies.values() if tally.subjects]
    per_discipline = sum(known) / len(known) if known else min(config.subjects, SUBJECTS_PER_QUERY * config.queries)
    queries, subjects = num_disciplines * config.queries, num_disciplines * per_discipline
    pairs = subjects * (config.questions + config.held_out)
    expected = {"subjects": queries, "syllabus": subjects, "question": pairs, "answer": pairs}
    if config.turns == 2:
        expected |= {"subjects_jsonl": queries, "syllabus_extract": subjects}
    return expected


def _mean(ledger: Ledger, kind: str) -> tuple[float, float] | None:
    spent = spent_in(ledger, (kind,))
    return (spent.prompt_tokens / spent.calls, spent.completion_tokens / spent.calls) if spent.tokens else None
