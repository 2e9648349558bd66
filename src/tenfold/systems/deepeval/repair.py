"""The verb `repair`: the published annotations as blocks of four that no blind rule can solve, and the proof of it.

Every probe of the audit, those that learn included, is run on the new questions and must score exactly 25 %.
"""

from collections.abc import Mapping, Sequence
from math import fsum
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ApparatusError, UserError
from tenfold.core.records import Metrics
from tenfold.evals.audits import Probe, run_probes
from tenfold.store import artifacts
from tenfold.store.artifacts import find_data
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.deepeval import data, mcq
from tenfold.systems.deepeval.items import TASKS, Item, Task, write_jsonl
from tenfold.systems.deepeval.likeness import Weights, distractor_cosines
from tenfold.systems.deepeval.quads import NUM_PROPOSALS, SIZE, QuadSet
from tenfold.systems.deepeval.released import is_released

BLIND = 1 / SIZE
"""What a deterministic answerer that does not look scores on blocks of four, exactly."""


class RepairConfig(Config):
    """Turn the published annotations into questions that cannot be answered without looking."""

    data: str = "deepeval"
    """The published files: deepeval, or their folder."""
    out: str | None = None
    """Also write the questions and the annotations into this folder."""
    proposals: int = Field(default=NUM_PROPOSALS, ge=0)
    """Swaps to try, for each task, in the search for blocks of alike texts."""
    seed: int = 0
    """Of the blocks."""


def repair(config: RepairConfig, run: Run) -> Metrics:
    """Builds the blocks of every task, writes them, and runs every probe on them; one row per task."""
    folder = find_data(config.data)
    if not (folder.is_dir() and is_released(folder)):
        raise UserError(f"{config.data!r} is not a folder of the published files; for your own annotations use `build`")
    source = data.load_released(folder)
    sets = data.quads_of(source, seed=config.seed, num_proposals=config.proposals)
    files = write_set(source, sets, [run.folder / "quads", *([Path(config.out)] if config.out else [])])
    todo: list[Task] = [task for task in TASKS if task not in run.rows]
    for task in track(todo, "audit of the quads", done=len(TASKS) - len(todo)):
        run.add(task, _row(source, task, sets[task], seed=config.seed))
    return _metrics({task: run.rows[task] for task in TASKS}) | {"data": config.data, "seed": config.seed, "files": files}


def write_set(source: data.DataSet, sets: Mapping[Task, QuadSet], folders: Sequence[Path]) -> dict[str, str]:
    """Writes questions and annotations into each folder; returns the checksum of each file."""
    files: dict[str, str] = {}
    for folder in folders:
        write_jsonl(folder / data.ITEMS, [item for quads in sets.values() for item in quads.items])
        write_jsonl(folder / data.ANNOTATIONS, source.annotations.values())
        files = {name: artifacts.sha256(folder / name) for name in (data.ITEMS, data.ANNOTATIONS)}
    return files


def _row(source: data.DataSet, task: Task, quads: QuadSet, *, seed: int) -> dict[str, Any]:
    weights = Weights.of([annotation.text(task) for annotation in source.annotations.values()])
    before = distractor_cosines(weights, [(item.options, item.gold) for item in source.of(task)])
    return {
        "blocks": quads.num_blocks,
        "left_out": list(quads.left_out),
        "probes": probe_accuracies(quads.items, seed=seed),
        "cosine_released": fmean(before),
        "cosine_quads": quads.mean_cosine,
        "max_cosine": quads.max_cosine,
    }


def probe_accuracies(items: Sequence[Item], probes: Sequence[Probe] | None = None, *, seed: int = 0) -> dict[str, float]:
    """Every probe's accuracy on blocks, summed without rounding error; by default those of the audit.

    Raises:
        ApparatusError: one is not exactly 25 %, so the blocks or the probe are at fault.
    """
    results = run_probes([mcq.as_audit_item(item) for item in items], probes, seed=seed)
    accuracies = {result.name: fsum(result.points) / len(items) for result in results}
    for name, accuracy in accuracies.items():
        if accuracy != BLIND:
            raise ApparatusError(f"probe {name!r} scores {accuracy} on blocks instead of exactly {BLIND}")
    return accuracies


def _metrics(rows: Mapping[Task, Mapping[str, Any]]) -> Metrics:
    return {
        "blocks": {task: row["blocks"] for task, row in rows.items()},
        "left_out": {task: row["left_out"] for task, row in rows.items()},
        "strongest_probe": max(max(row["probes"].values()) for row in rows.values()),
        "num_probes": min(len(row["probes"]) for row in rows.values()),
        "probes": {task: row["probes"] for task, row in rows.items()},
        "mean_cosine": {
            task: {
                "released": row["cosine_released"],
                "quads": row["cosine_quads"],
                "ratio": row["cosine_quads"] / row["cosine_released"],
            }
            for task, row in rows.items()
        },
        "max_cosine": {task: row["max_cosine"] for task, row in rows.items()},
    }


def summary(metrics: Metrics) -> str:
    """Blocks, the strongest probe, and how alike the options of a question are."""
    lines = [
        f"{task:<12} {metrics['blocks'][task]} blocks, {len(metrics['left_out'][task])} left out; right option against"
        f" distractor: cosine {cosine['quads']:.3f} (released {cosine['released']:.3f}), highest"
        f" {metrics['max_cosine'][task]:.2f}"
        for task, cosine in metrics["mean_cosine"].items()
    ]
    return "\n".join(
        [*lines, f"strongest of {metrics['num_probes']} blind probes: {metrics['strongest_probe']:.1%} exactly"]
    )
