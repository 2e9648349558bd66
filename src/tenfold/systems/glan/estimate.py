"""What a data set will cost, before it is asked for: calls by kind, and tokens by what such calls have cost so far.

Means come from the ledger, so a pilot with the same teacher (`piloting`) makes the estimate good: how long prompts and
replies are, how many subjects a query lists, how many replies need a repair, how many pairs the gates stop and rounds
replace. A kind of which the ledger holds nothing is taken at typical values of a large model, which may be far off.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenfold.store.ledger import Ledger
from tenfold.systems.glan.asking import KINDS
from tenfold.systems.glan.budget import Spending, spent_in
from tenfold.systems.glan.planner import Planner
from tenfold.systems.glan.reading import Reader
from tenfold.systems.glan.rounds import Accepts, accept_all
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
LISTS = {1: ("subjects", "syllabus"), 2: ("subjects_jsonl", "syllabus_extract")}
"""By number of turns, the calls whose replies are read as lists, and repaired once where they cannot be."""


@dataclass(frozen=True)
class Estimate:
    """What is still to be asked."""

    calls: dict[str, int]
    spending: Spending
    from_pilot: tuple[str, ...]
    """Kinds whose tokens were measured; those of the others are typical values."""


def estimate(
    planner: Planner,
    ledger: Ledger,
    disciplines: Sequence[Discipline],
    *,
    accepts: Accepts = accept_all,
    piloted: Mapping[str, int] | None = None,
) -> Estimate:
    """Calls and tokens that `generate` would still cost.

    Args:
        accepts: the gates by which pairs are replaced.
        piloted: calls that a pilot has made, by kind.
    """
    reader = Reader(planner, ledger, accepts)
    stopped_share = _stopped_share(reader, disciplines, accepts)
    expected = _expected(planner, reader, len(disciplines), stopped_share)
    expected["repair"] = _repair_share(ledger, planner) * sum(expected[kind] for kind in LISTS[planner.config.turns])
    done = Counter(reader.calls) | Counter(piloted or {})
    left = {kind: max(0, round(number) - done[kind]) for kind, number in expected.items()}
    means = {kind: _mean(ledger, kind) for kind in KINDS}
    spending = Spending(calls=sum(left.values()))
    for kind, number in left.items():
        prompt, completion = means[kind] or TYPICAL[kind]
        spending.prompt_tokens += round(number * prompt)
        spending.completion_tokens += round(number * completion)
    return Estimate(left, spending, tuple(kind for kind in left if means[kind]))


def _stopped_share(reader: Reader, disciplines: Sequence[Discipline], accepts: Accepts) -> float:
    """Reads all that is there; the share of its pairs that the gates stop."""
    verdicts = [accepts(pair) for pair in reader.pairs(disciplines) if pair.split == "train"]
    return verdicts.count(False) / len(verdicts) if verdicts else 0.0


def _expected(planner: Planner, reader: Reader, num_disciplines: int, stopped_share: float) -> dict[str, float]:
    """Calls of the whole data set by kind."""
    config = planner.config
    queries = num_disciplines * config.queries
    subjects = num_disciplines * _subjects_per_discipline(planner, reader)
    per_syllabus, readable = _questions_per_syllabus(planner, reader)
    held_out = min(per_syllabus, config.held_out)
    replaced = (per_syllabus - held_out) * sum(stopped_share**further for further in range(1, planner.rounds))
    pairs = subjects * readable * (per_syllabus + replaced)
    expected = {"subjects": queries, "syllabus": subjects, "question": pairs, "answer": pairs}
    if config.turns == 2:
        expected |= {"subjects_jsonl": queries, "syllabus_extract": subjects}
    return expected


def _subjects_per_discipline(planner: Planner, reader: Reader) -> float:
    """As it was where whole disciplines are known; else as many as the queries known so far would bring."""
    known = [tally.subjects for tally in reader.tallies.values() if tally.subjects]
    if known:
        return sum(known) / len(known)
    listed = reader.listed
    per_query = sum(listed) / len(listed) if listed else SUBJECTS_PER_QUERY
    return min(planner.config.subjects, per_query * planner.config.queries)


def _questions_per_syllabus(planner: Planner, reader: Reader) -> tuple[float, float]:
    """Questions of the first round, fewer where combinations are few; and the share of syllabi that can be read."""
    tallies = reader.tallies.values()
    syllabi = sum(tally.syllabi for tally in tallies)
    asked = planner.config.questions + planner.config.held_out
    if not syllabi:
        return asked, 1.0
    unread = sum(number for tally in tallies for kind, number in tally.unread.items() if kind.startswith("syllabus"))
    return sum(tally.wanted for tally in tallies) / syllabi, syllabi / (syllabi + unread)


def _repair_share(ledger: Ledger, planner: Planner) -> float:
    """Repairs for each list that was asked for."""
    counts = ledger.counts()
    lists = sum(counts.get(kind, {}).get("done", 0) for kind in LISTS[planner.config.turns])
    return counts.get("repair", {}).get("done", 0) / lists if lists else 0.0


def _mean(ledger: Ledger, kind: str) -> tuple[float, float] | None:
    """Tokens of prompt and reply for each call, with all its attempts."""
    spent, number = spent_in(ledger, (kind,)), sum(ledger.counts().get(kind, {}).values())
    return (spent.prompt_tokens / number, spent.completion_tokens / number) if spent.tokens else None
