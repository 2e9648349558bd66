"""Problem sets by name: our own, those made from GSM8K, and the public ones in their makers' formats.

builtin   made in memory from the frames and bases that ship with Tenfold; certified
gsm8k     made in memory from GSM8K's train and test files as well; certified
umwp      UMWP (CC-BY-SA-4.0): pairs of an answerable and an unanswerable text; for tests and reports only
mip       MiP (MIT): four sets of texts with a missing premise; for tests, calibration and reports only
a path    JSONL of our own records; `id` and `question` suffice, records without certificate are "uncertified"
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.core.seeds import derive
from tenfold.store.artifacts import find_data
from tenfold.systems.ump import problems
from tenfold.systems.ump.building import SOURCES, build_problems
from tenfold.systems.ump.problems import CATEGORIES, Flaw, Problem

MIP_SETS = ("svamp", "gsm8k", "math", "formula")
SPLITS = ("train", "test")
TIERS = ("easy", "standard")


def load(
    name: str,
    *,
    split: str = "all",
    tier: str = "all",
    category: str = "all",
    limit_blocks: int | None = None,
    seed: int = 0,
) -> list[Problem]:
    """A problem set by name or path, narrowed down; `limit_blocks` takes equally many blocks of each category.

    Raises:
        UserError: the name, the file or a filter is not known, or nothing is left.
    """
    for kind, value, known in (("split", split, SPLITS), ("tier", tier, TIERS), ("category", category, CATEGORIES)):
        if value not in ("all", *known):
            raise UnknownNameError(kind, value, ("all", *known))
    chosen = [
        problem
        for problem in read_set(name, seed=seed)
        if split in ("all", problem.split) and tier in ("all", problem.tier) and category in ("all", problem.category)
    ]
    if not chosen:
        raise ConfigError(f"{name} holds no problem with split {split}, tier {tier} and category {category}; widen one")
    return chosen if limit_blocks is None else some_blocks(chosen, limit_blocks, seed)


def read_set(name: str, *, seed: int = 0) -> list[Problem]:
    """All of a problem set; MissingArtifactError if it is not on this machine."""
    if name in SOURCES:
        return build_problems(name, seed=seed).problems
    path = find_data(name)
    if name == "umwp":
        return list(_umwp(path))
    return list(_mip(path)) if path.is_dir() else problems.read(path)


def some_blocks(chosen: Sequence[Problem], limit: int, seed: int) -> list[Problem]:
    """`limit` blocks or pairs, drawn in turn from each category; the problems keep their order."""
    queues: dict[str, list[str]] = defaultdict(list)
    for problem in chosen:
        key = group(problem)
        if key not in queues[problem.category]:
            queues[problem.category].append(key)
    for queue in queues.values():
        queue.sort(key=lambda key: derive(seed, key))
    turns = max(map(len, queues.values()))
    in_turn = [queue[turn] for turn in range(turns) for queue in queues.values() if turn < len(queue)]
    kept = set(in_turn[:limit])
    return [problem for problem in chosen if group(problem) in kept]


def group(problem: Problem) -> str:
    """What belongs together: the block, else the pair, else the problem alone."""
    return problem.block or problem.pair_id or problem.id


def _umwp(path: Path) -> Iterator[Problem]:
    for row in jsonl.read(path):
        number, sound = row["id"], row["answerable"]
        answer = row["answer"][0] if isinstance(row["answer"], list) else row["answer"]
        yield Problem(
            id=f"umwp-{number}",
            question=row["question"],
            answer=str(answer) if sound and answer is not None else None,
            flaw=None if sound else Flaw(kind=f"umwp:{row['category']}"),
            pair_id=f"umwp-{number if sound else row['relevant_ids'][0]}",
            source="umwp",
            source_id=str(number),
            split="test",
            licence="CC-BY-SA-4.0",
        )


def _mip(folder: Path) -> Iterator[Problem]:
    for name in MIP_SETS:
        path = folder / "data" / f"{name}.json"
        for place, row in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            yield from _mip_pair(name, place, row)


def _mip_pair(name: str, place: int, row: dict[str, Any]) -> Iterable[Problem]:
    shared: dict[str, Any] = {"pair_id": f"mip-{name}-{place}", "source": f"mip-{name}", "split": "test", "licence": "MIT"}
    answer = row.get("answer")
    final = None if answer is None else str(answer).rpartition("####")[2].strip()
    if "question" in row:
        yield Problem(id=f"mip-{name}-{place}-sound", question=row["question"], answer=final, **shared)
    if "insufficient_question" in row:
        yield Problem(
            id=f"mip-{name}-{place}-flawed",
            question=row["insufficient_question"],
            flaw=Flaw(kind="mip:missing premise"),
            original_question=row.get("question"),
            **shared,
        )
