"""The verb `testset`: GLAN-Test, questions that were held out of each syllabus, for measuring what was taught.

The first draws of each syllabus are reserved (`generate --held-out`), so train and test never share a combination. What the
gates stop, and what resembles a training question, is left out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.store.artifacts import sha256
from tenfold.store.runs import Run
from tenfold.systems.glan.gates import Reason
from tenfold.systems.glan.gating import GateOptions, check_of, load_decontaminator
from tenfold.systems.glan.pair_files import read_pairs, write_rows
from tenfold.systems.glan.sieve import Sieve
from tenfold.systems.glan.tree import Pair

FILE = "testset.jsonl"


class TestsetConfig(GateOptions):
    """Build a held-out test from the reserved draws of a data set."""

    data: Path
    """pairs.jsonl of a run of `generate --held-out N`."""
    per_discipline: int = Field(50, ge=1)
    """Most questions of a discipline; the paper takes 50."""


def testset(config: TestsetConfig, run: Run) -> Metrics:
    """Writes testset.jsonl.

    Raises:
        UserError: no draw was held out, or none of them passes.
    """
    held_out = [pair for pair in read_pairs(config.data) if pair.split == "test"]
    if not held_out:
        raise UserError(f"{config.data} holds no reserved draws; make it with `tenfold glan generate --held-out N`")
    reasons = _reasons(config, held_out, run.folder)
    passed = [pair for pair, reason in zip(held_out, reasons, strict=True) if reason is None]
    chosen = list(_at_most(passed, config.per_discipline))
    if not chosen:
        raise UserError(f"none of {len(held_out)} reserved questions passes the gates; hold out more draws")
    path = run.folder / FILE
    write_rows(path, map(_item, chosen))
    stopped = Counter(reason.gate for reason in reasons if reason is not None)
    return {
        "questions": len(chosen),
        "disciplines": len({pair.discipline for pair in chosen}),
        "held_out": len(held_out),
        "gates": dict(sorted(stopped.items())),
        "file": FILE,
        "sha256": sha256(path),
    }


def _reasons(config: TestsetConfig, held_out: Sequence[Pair], folder: Path) -> list[Reason | None]:
    """Verdicts on the held-out pairs; of duplicates the first stays, so they give way to questions for training."""
    with Sieve(folder, check_of(config), benchmarks=load_decontaminator(config.against), alike_from=config.alike) as sieve:
        sieve.take(pair for pair in read_pairs(config.data) if pair.split == "train")
        num_train = sieve.num_pairs
        sieve.take(held_out)
        sieve.compare()
        return list(islice(sieve.reasons(), num_train, None))


def _at_most(pairs: Iterable[Pair], most: int) -> Iterator[Pair]:
    """Up to `most` pairs of each discipline: one of each subject before a second one of any, in the tree's order."""
    by_discipline: dict[str, dict[str, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        by_discipline[pair.discipline][pair.subject].append(pair)
    for subjects in by_discipline.values():
        longest = max(map(len, subjects.values()))
        rounds = (some[place] for place in range(longest) for some in subjects.values() if place < len(some))
        yield from (pair for _, pair in zip(range(most), rounds, strict=False))


def _item(pair: Pair) -> dict[str, Any]:
    """`question` and `reference`, and where they come from; `messages` makes it a file that trainers read too."""
    return {
        "id": pair.id,
        "question": pair.instruction,
        "reference": pair.answer,
        "field": pair.field,
        "discipline": pair.discipline,
        "subject": pair.subject,
        "level": pair.level,
        "messages": [
            {"role": "user", "content": pair.instruction},
            {"role": "assistant", "content": pair.answer},
        ],
    }


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    stopped = ", ".join(f"{gate} {number}" for gate, number in metrics["gates"].items())
    return (
        f"{metrics['questions']} questions of {metrics['disciplines']} disciplines in {metrics['file']}; "
        f"of {metrics['held_out']} held out, left out: {stopped or 'none by a gate'}"
    )
