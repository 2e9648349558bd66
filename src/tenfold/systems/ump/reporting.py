"""The verb `report`: runs of `tenfold ump run` that are there already, set side by side; nothing is asked or judged.

Marks are those that stand in the runs' rows. Templates are compared only where they were put to the same problems.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.core.config import Config, Names, read_toml
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store import runs
from tenfold.store.runs import Run
from tenfold.systems.ump.measures import Answered
from tenfold.systems.ump.problems import Problem
from tenfold.systems.ump.replaying import rows_of_run
from tenfold.systems.ump.running import numbers

SHARED = ("data", "method", "split", "tier", "category", "limit_blocks", "seed", "max_tokens")
"""Settings in which runs must agree to be set side by side."""


class ReportConfig(Config):
    """Set finished runs of `run` side by side."""

    runs: Names
    """Runs: their folders, or the beginnings of the folders' names."""
    base: str | None = None
    """The template that others are compared with; by default the first of the first run."""


def report(config: ReportConfig, run: Run) -> Metrics:
    """Measures the answers of all the runs together.

    Raises:
        MissingArtifactError: there is no such run.
        ConfigError: the runs were asked different problems or in different ways, or one holds no answers.
    """
    folders = [runs.find(run.folder.parent.parent, name) for name in dict.fromkeys(config.runs)]
    if not folders:
        raise ConfigError("there is nothing to report; give at least one run of `tenfold ump run`")
    settings = _shared([(folder, read_toml(folder / "config.toml")) for folder in folders])
    results, problems = _answers(folders)
    base = config.base or next(iter(next(iter(results.values()))))
    lacking = [model for model, ways in results.items() if base not in ways]
    if lacking:
        has = ", ".join(results[lacking[0]])
        raise ConfigError(f"{lacking[0]} has no answers under the template {base!r}; take a base that all have ({has})")
    return {
        "runs": [folder.name for folder in folders],
        "data": settings["data"],
        "method": settings["method"],
        "max_tokens": settings["max_tokens"],
        **numbers(problems, results, base=base, ranked=settings["method"] == "logprob"),
    }


def _shared(found: Sequence[tuple[Path, Mapping[str, Any]]]) -> Mapping[str, Any]:
    """The settings of the first run; all others must agree with it."""
    (first, settings), *others = found
    for folder, other in others:
        odd = [key for key in SHARED if settings.get(key) != other.get(key)]
        if odd:
            raise ConfigError(
                f"{first.name} has {odd[0]}={settings.get(odd[0])}, {folder.name} has {odd[0]}={other.get(odd[0])}; "
                "give runs that were asked the same problems in the same way"
            )
    return settings


def _answers(folders: Sequence[Path]) -> tuple[dict[str, dict[str, list[Answered]]], list[Problem]]:
    """By model and template, and all problems that occur."""
    results: dict[str, dict[str, list[Answered]]] = defaultdict(lambda: defaultdict(list))
    problems: dict[str, Problem] = {}
    for folder in folders:
        seen = {(model, name) for model, ways in results.items() for name in ways}
        for row, problem in rows_of_run(folder):
            if (row["model"], row["template"]) in seen:
                raise ConfigError(
                    f"{row['model']} under {row['template']} stands in {folder.name} and in another run; leave one out"
                )
            results[row["model"]][row["template"]].append(_answered(row, problem))
            problems[problem.id] = problem
    if not results:
        raise ConfigError(f"{folders[0]} holds no answers; give runs of `tenfold ump run`")
    return {model: dict(ways) for model, ways in results.items()}, list(problems.values())


def _answered(row: Mapping[str, Any], problem: Problem) -> Answered:
    return Answered(
        problem=problem,
        text=row["text"],
        status=row["status"],
        probability=row["probability"],
        mark=row["mark"],
        solved=row["solved"],
        tokens=row["tokens"],
        reasoning_tokens=row["reasoning_tokens"],
    )
