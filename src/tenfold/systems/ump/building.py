"""The verbs `build` and `check`: make certified blocks, and check any file of problems.

Blocks come from our own frames and bases (`builtin`), and from GSM8K's train and test files as well (`gsm8k`). The
generator proposes, the checker disposes: what it refuses is dropped and counted.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from tenfold.core import jsonl
from tenfold.core.config import Config
from tenfold.core.records import Metrics
from tenfold.core.seeds import derive
from tenfold.store.artifacts import find_data
from tenfold.store.runs import Run
from tenfold.systems.ump import problems
from tenfold.systems.ump.bases import Base, BaseError, make_base
from tenfold.systems.ump.blocks import OPERATORS, blocks_of, blocks_of_frames
from tenfold.systems.ump.checker import check, check_block
from tenfold.systems.ump.problems import CATEGORIES, Problem
from tenfold.systems.ump.wordings import read_rows

SOURCES = ("builtin", "gsm8k")
GSM8K_FILES = {"test": "gsm8k", "train": "gsm8k-train"}
OWN_LICENCE, GSM8K_LICENCE = "Apache-2.0", "MIT"
MOST_TRAIN = 300


class BuildConfig(Config):
    """Build blocks of certified problems: two sound and two flawed texts each."""

    source: Literal["builtin", "gsm8k"] = "builtin"
    """Bases: builtin (our own, always there) or gsm8k (its train and test files as well)."""
    seed: int = 0
    """Seed of all choices; the same seed gives the same bytes."""
    most_train: int = Field(default=MOST_TRAIN, ge=1)
    """Most blocks that one kind of edit makes of the training file; the test file is used whole."""
    out: Path | None = None
    """Where to write the problems besides the run directory, as JSONL."""


@dataclass(frozen=True)
class Built:
    """Accepted problems, four a block, and why other blocks were refused."""

    problems: list[Problem]
    refusals: Mapping[str, str]
    num_bases: Mapping[str, int]

    @property
    def num_blocks(self) -> int:
        return len(self.problems) // 4


def build(config: BuildConfig, run: Run) -> Metrics:
    """Builds, checks and writes `problems.jsonl` into the run directory; one row per block, refused ones included."""
    built = build_problems(config.source, seed=config.seed, most_train=config.most_train)
    blocks = problems.by_block(built.problems)
    path = run.folder / "problems.jsonl"
    problems.write(path, built.problems)
    if config.out is not None:
        problems.write(config.out, built.problems)
    for block, cells in blocks.items():
        if block not in run.rows:
            run.add(block, {"category": cells["c1"].category, "split": cells["c1"].split, "accepted": True})
    for block, reason in built.refusals.items():
        if block not in run.rows:
            run.add(block, {"accepted": False, "reason": reason})
    return counts(built) | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "file": path.name}


def counts(built: Built) -> Metrics:
    """How many pairs there are of each kind. `checker_accepts` is over the blocks in the file, `refused` were left out."""
    first = [problem for problem in built.problems if problem.cell == "u1"]
    per_category = Counter(problem.category for problem in first)
    return {
        "pairs": 2 * len(first),
        "blocks": len(first),
        "checker_accepts": 1.0 if first else None,
        "proposed": len(first) + len(built.refusals),
        "refused": len(built.refusals),
        "refusals": dict(Counter(reason.partition(": ")[2] or reason for reason in built.refusals.values())),
        "categories": {category: 2 * per_category[category] for category in CATEGORIES},
        "test_pairs": 2 * sum(problem.split == "test" for problem in first),
        "test_pairs_gsm8k": 2 * sum(problem.split == "test" and problem.source == "gsm8k" for problem in first),
        "placebos": 2 * len(first),
        "placebos_per_block": 2,
        "tiers": dict(sorted(Counter(problem.tier for problem in built.problems).items())),
        "sources": dict(sorted(Counter(problem.source for problem in first).items())),
        "bases": dict(built.num_bases),
    }


@cache
def build_problems(source: str, *, seed: int = 0, most_train: int = MOST_TRAIN) -> Built:
    """All accepted blocks of a source, kept in memory once made.

    Raises:
        MissingArtifactError: GSM8K is not on this machine.
    """
    bases = {"own": own_bases()} | ({} if source == "builtin" else gsm8k_bases())
    accepted: list[Problem] = []
    refusals: dict[str, str] = {}
    for cells in _proposals(bases, seed, most_train):
        reason = check_block({problem.cell: problem for problem in cells})
        if reason is None:
            accepted += cells
        else:
            refusals[cells[0].block] = reason
    return Built(accepted, refusals, {name: len(some) for name, some in bases.items()})


def _proposals(bases: Mapping[str, Sequence[Base]], seed: int, most_train: int) -> Iterator[list[Problem]]:
    yield from blocks_of_frames(seed)
    for name, some in bases.items():
        most = most_train if name == "train" else len(some)
        order = sorted(some, key=lambda base, name=name: derive(seed, name, base.source_id))
        for operator in OPERATORS:
            yield from blocks_of(operator, order, most, seed)


@cache
def own_bases() -> list[Base]:
    """The bases that we wrote ourselves; every third is kept for tests."""
    return [
        make_base(
            row["question"],
            row["answer"],
            source="own",
            source_id=row["id"],
            split="test" if place % 3 == 2 else "train",
            licence=OWN_LICENCE,
        )
        for place, row in enumerate(read_rows("bases.jsonl"))
    ]


@cache
def gsm8k_bases() -> dict[str, list[Base]]:
    """Split -> the rows of GSM8K whose every number is accounted for; MissingArtifactError if a file is not here."""
    return {split: list(_bases_of(find_data(alias), split)) for split, alias in GSM8K_FILES.items()}


def _bases_of(path: Path, split: str) -> Iterator[Base]:
    for place, row in enumerate(jsonl.read(path)):
        try:
            yield make_base(
                row["question"],
                row["answer"],
                source="gsm8k",
                source_id=str(place),
                split=split,
                licence=GSM8K_LICENCE,
            )
        except BaseError:
            continue


def describe_build(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    categories = ", ".join(f"{name} {count}" for name, count in metrics["categories"].items())
    return (
        f"{metrics['pairs']} pairs in {metrics['blocks']} blocks, {metrics['test_pairs']} of them kept for tests\n"
        f"  {categories}\n"
        f"  the checker accepted every block; {metrics['refused']} of {metrics['proposed']} proposed ones were left out"
    )


class CheckConfig(Config):
    """Check the certificates of a file of problems."""

    data: str
    """JSONL of problems."""


def check_file(config: CheckConfig, run: Run) -> Metrics:
    """Checks every problem and every whole block; one row per problem that is not accepted."""
    path = find_data(config.data)
    rows = [(number, problems.parse(row, f"{path} line {number}")) for number, row in problems.numbered_rows(path)]
    certified = [(number, problem) for number, problem in rows if problem.certificate is not None]
    rejected = {number: reason for number, problem in certified if (reason := check(problem)) is not None}
    for number, problem in rows:
        reason = "uncertified" if problem.certificate is None else rejected.get(number)
        if reason and str(number) not in run.rows:
            run.add(str(number), {"line": number, "id": problem.id, "reason": reason})
    broken = _broken_blocks([problem for number, problem in certified if number not in rejected])
    for block, reason in broken.items():
        if block not in run.rows:
            run.add(block, {"block": block, "reason": reason})
    return {
        "problems": len(rows),
        "accepted": len(certified) - len(rejected),
        "rejected": len(rejected),
        "uncertified": len(rows) - len(certified),
        "checker_accepts": (len(certified) - len(rejected)) / len(certified) if certified else None,
        "rejections": [{"line": number, "reason": reason} for number, reason in rejected.items()][:100],
        "blocks": len(problems.by_block([problem for _, problem in certified])),
        "broken_blocks": broken,
    }


def _broken_blocks(accepted: Sequence[Problem]) -> dict[str, str]:
    reasons = {block: check_block(cells) for block, cells in problems.by_block(accepted).items()}
    return {block: reason for block, reason in reasons.items() if reason is not None}


def describe_check(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{metrics['accepted']} of {metrics['problems']} problems accepted, {metrics['rejected']} rejected, "
        f"{metrics['uncertified']} uncertified; {len(metrics['broken_blocks'])} of {metrics['blocks']} blocks broken"
    ]
    lines += [f"  line {row['line']}: {row['reason']}" for row in metrics["rejections"][:10]]
    return "\n".join([*lines, *(f"  {block}: {reason}" for block, reason in metrics["broken_blocks"].items())])
