"""The verb `audit`: how far rules get that never see the picture, on the published questions or on any file of them.

A blind rule that beats a model says that the set can be solved without what it is meant to test (deepeval.md sections 2, 5).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.records import Metrics
from tenfold.evals.audits import AuditItem, ProbeResult, best, chance, run_probes, worst_items
from tenfold.store.artifacts import find_data
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.deepeval import data, mcq, released
from tenfold.systems.deepeval.items import TASKS

OUR_SETS = ("released", "quads", "scenes", "factors")
BEST_OPEN_MODEL = {"description": 0.788, "title": 0.478, "meaning": 0.322}
"""The best open model's accuracy in the paper, by task (deepeval.md section 2)."""
NUM_WORST = 5
LONGEST_SHOWN = 90


class AuditConfig(Config):
    """Find out how far rules get that do not see the picture."""

    data: str = "deepeval"
    """Questions: deepeval (as published), quads, scenes, factors, a folder, or any JSON lines with options and gold."""
    folds: int = Field(default=5, ge=2)
    """Parts into which the questions are split for rules that learn: trained on the others, tested on each."""
    seed: int = 0
    """Of the parts and of the intervals."""


def audit(config: AuditConfig, run: Run) -> Metrics:
    """Runs every probe on every task; one row per task."""
    tasks, doubts = load(config.data)
    for task in track([task for task in tasks if task not in run.rows], "audit", done=len(run.rows)):
        run.add(task, examine(tasks[task], folds=config.folds, seed=config.seed))
    rows = {task: run.rows[task] for task in tasks}
    return {
        "data": config.data,
        "items": sum(row["items"] for row in rows.values()),
        "tasks": {task: judged(task, row, is_published=bool(doubts)) for task, row in rows.items()},
        **({"doubts": doubts} if doubts else {}),
        **verdict(rows, is_published=bool(doubts)),
    }


def load(name: str) -> tuple[dict[str, list[AuditItem]], dict[str, Any]]:
    """The questions by task, and what is doubtful about the published files (empty for others)."""
    if name not in OUR_SETS and not find_data(name).is_dir():
        return mcq.read(find_data(name)), {}
    loaded = data.load(name)
    tasks = {task: [mcq.as_audit_item(item) for item in loaded.of(task)] for task in TASKS}
    doubts = {task: _doubts(check) for task, check in loaded.checks.items()} if loaded.name == "released" else {}
    return {task: items for task, items in tasks.items() if items}, doubts


def _doubts(check: released.KeyCheck) -> dict[str, Any]:
    return {
        "key_agreement": check.agreement,
        "equal_options": list(check.equal_options),
        "nested_options": list(check.nested_options),
        "known_file": check.known_file,
    }


def examine(items: Sequence[AuditItem], *, folds: int = 5, seed: int = 0) -> dict[str, Any]:
    """One task's row: every probe's accuracy with its interval, and the items that give most away."""
    results = run_probes(items, folds=min(folds, len({item.block for item in items})), seed=seed)
    return {
        "items": len(items),
        "blocks": len({item.block for item in items}),
        "chance": chance(items),
        "probes": {result.name: _probe(result) for result in results},
        "strongest_probe": best(results).name,
        "worst": [_shown(item, share) for item, share in worst_items(items, results, top=NUM_WORST)],
    }


def _probe(result: ProbeResult) -> dict[str, Any]:
    return {
        "accuracy": result.accuracy.value,
        "interval": result.accuracy.interval,
        "folds_share_texts": result.folds_share_texts,
    }


def _shown(item: AuditItem, share: float) -> dict[str, Any]:
    text = item.options[item.gold].strip()
    short = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN].rstrip()} ..."
    return {"id": item.id, "gold": short, "probes_right": share}


def judged(task: str, row: Mapping[str, Any], *, is_published: bool) -> dict[str, Any]:
    """A task's metrics: its row without the key, and how the strongest probe compares."""
    strongest = row["probes"][row["strongest_probe"]]
    metrics = {key: value for key, value in row.items() if key != "key"} | {
        "strongest_accuracy": strongest["accuracy"],
        "beats_chance": strongest["interval"][0] > row["chance"],
    }
    if is_published and task in BEST_OPEN_MODEL:
        metrics |= {
            "best_open_model": BEST_OPEN_MODEL[task],
            "beats_best_open_model": strongest["accuracy"] > BEST_OPEN_MODEL[task],
        }
    return metrics


def verdict(rows: Mapping[str, Mapping[str, Any]], *, is_published: bool) -> dict[str, Any]:
    """The sentence to quote and its yes or no: against the best open model where one is published, else against chance."""
    all_judged = {task: judged(task, row, is_published=is_published) for task, row in rows.items()}
    key, what = ("beats_best_open_model", "the best published open model") if is_published else ("beats_chance", "chance")
    won = [task for task, metrics in all_judged.items() if metrics.get(key)]
    where = f" ({', '.join(won)})" if won and len(rows) > 1 else ""
    return {"solvable_blind": bool(won), "verdict": f"a blind rule beats {what}: {'YES' if won else 'NO'}{where}"}


def summary(metrics: Metrics) -> str:
    """A table of probes by tasks, the strongest first, and the verdict."""
    tasks = metrics["tasks"]
    names = list(next(iter(tasks.values()))["probes"])
    names.sort(key=lambda name: -max(task["probes"][name]["accuracy"] for task in tasks.values()))
    lines = [" " * 30 + "".join(f"{task:>14}" for task in tasks)]
    lines += [
        f"{name:<30}" + "".join(f"{task['probes'][name]['accuracy']:14.1%}" for task in tasks.values()) for name in names
    ]
    lines += [f"{'chance':<30}" + "".join(f"{task['chance']:14.1%}" for task in tasks.values())]
    published = [task.get("best_open_model") for task in tasks.values()]
    if all(published):
        lines += [f"{'best open model in the paper':<30}" + "".join(f"{value:14.1%}" for value in published)]
    if any(probe["folds_share_texts"] for task in tasks.values() for probe in task["probes"].values()):
        lines += ["rules that learn were trained on other questions with some of the same texts: folds share texts"]
    return "\n".join([*lines, *_doubtful(metrics), metrics["verdict"]])


def _doubtful(metrics: Metrics) -> list[str]:
    return [
        f"{task}: answer key agrees on {doubt['key_agreement']:.1%}; {len(doubt['equal_options'])} questions with equal"
        f" options, {len(doubt['nested_options'])} with nested ones{'' if doubt['known_file'] else '; an unknown edition'}"
        for task, doubt in metrics.get("doubts", {}).items()
    ]
