"""The verb `report`: runs that are there already, set side by side; nothing is asked.

Models are compared question by question under the same task and arm, with sign flips by block and Holm over all pairs.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError, UserError
from tenfold.core.records import Metrics
from tenfold.store import runs
from tenfold.store.runs import Run
from tenfold.systems.deepeval.asking import Circular
from tenfold.systems.deepeval.comparisons import between_models, gains, hierarchy
from tenfold.systems.deepeval.measures import Row, describe, grouped

Counted = Literal["as-run", "off", "mean", "strict", "vote"]


class ReportConfig(Config):
    """Set finished runs of `run` side by side."""

    runs: Names
    """Runs: their folders, or the beginnings of the folders' names."""
    circular: Counted = "as-run"
    """How rotations count: as-run, or mean, strict, vote."""


def report(config: ReportConfig, run: Run) -> Metrics:
    """Compares all models of the runs.

    Raises:
        MissingArtifactError: there is no such run.
        UserError: a run holds no answers, or the runs count rotations differently.
    """
    folders = [_find(run, name) for name in dict.fromkeys(config.runs)]
    if not folders:
        raise ConfigError("there is nothing to report; give at least one run of `tenfold deepeval run`")
    answers = _named_apart([(folder, _answers(folder)) for folder in folders])
    groups = grouped(answers)
    circular = _circular(config, folders)
    return {
        "runs": [folder.name for folder in folders],
        "circular": circular,
        "results": [
            {"model": model, "task": task, "arm": arm, **describe(rows, circular)}
            for (model, task, arm), rows in groups.items()
        ],
        "gains": gains(groups, circular),
        "models_compared": between_models(groups, circular),
        "hierarchy": hierarchy(groups, circular),
    }


def _find(run: Run, name: str) -> Path:
    """A run by path or by name among the runs beside this one."""
    return runs.find(run.folder.parent.parent, name)


def _answers(folder: Path) -> list[dict[str, Any]]:
    rows = [row for row in runs.read_rows(folder) if row.get("kind") == "answer"]
    if not rows:
        raise UserError(f"{folder} holds no answers; give a run of `tenfold deepeval run`")
    return list({row["key"]: row for row in rows}.values())


def _named_apart(found: Sequence[tuple[Path, Sequence[Row]]]) -> list[Row]:
    """All answers; a model that occurs in several runs is told apart by the run's name."""
    seen = Counter(model for _, rows in found for model in {row["model"] for row in rows})
    return [
        {**row, "model": row["model"] if seen[row["model"]] == 1 else f"{row['model']} ({folder.name})"}
        for folder, rows in found
        for row in rows
    ]


def _circular(config: ReportConfig, folders: Sequence[Path]) -> Circular:
    if config.circular != "as-run":
        return config.circular
    kinds = {(runs.read_metrics(folder) or {}).get("circular", "off") for folder in folders}
    if len(kinds) > 1:
        raise UserError(
            f"these runs count rotations differently ({', '.join(sorted(kinds))}); give circular=mean, strict or vote"
        )
    return kinds.pop()


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{result['model']} {result['task']} {result['arm']}: {100 * result['accuracy']:.1f} % of {result['n']}"
        for result in metrics["results"]
        if result.get("accuracy") is not None
    ]
    return "\n".join([*lines, *(_compared(pair) for pair in metrics["models_compared"])])


def _compared(pair: dict[str, Any]) -> str:
    first, second = pair["models"]
    low, high = (100 * bound for bound in pair["difference_ci"])
    return (
        f"{first} less {second}, {pair['task']} {pair['arm']}: {100 * pair['difference']:+.1f} points"
        f" (95 % {low:+.1f} to {high:+.1f}, p {pair['p_holm']:.2g})"
    )
