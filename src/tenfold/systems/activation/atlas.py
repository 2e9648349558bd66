"""The verb `atlas`: the runs of the other verbs bound into one page that opens anywhere. It computes nothing itself."""

from collections.abc import Mapping
from typing import Any

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.core.records import Metrics
from tenfold.store import runs
from tenfold.store.runs import Run

PARTS = ("map", "audit", "sts", "classify", "prune", "choose", "experts")
NEWEST = "newest"


class AtlasConfig(Config):
    """Bind finished runs into one interactive page: `tenfold report` of this run writes it."""

    map: str = NEWEST
    """Run of `activation map`: its folder, its name, newest, or none."""
    audit: str = NEWEST
    """Run of `activation audit`, in the same words."""
    sts: str = NEWEST
    """Run of `activation sts`."""
    classify: str = NEWEST
    """Run of `activation classify`."""
    prune: str = NEWEST
    """Run of `activation prune`."""
    choose: str = NEWEST
    """Run of `activation choose`."""
    experts: str = NEWEST
    """Run of `activation experts`."""


def run_atlas(config: AtlasConfig, run: Run) -> Metrics:
    """Reads the metrics and rows of each part, and of the audit its weights.

    Raises:
        ConfigError: no part is there, or two parts are of different models.
    """
    parts = {name: found for name in PARTS if (found := _part(run, name, getattr(config, name))) is not None}
    if not parts:
        raise ConfigError("there is no finished run to bind; run `tenfold activation map` first")
    models = {name: found["metrics"]["model"] for name, found in parts.items() if name != "experts"}
    if len(set(models.values())) > 1:
        raise ConfigError(f"the runs are of different models ({models}); name runs of one model, or none for a part")
    return {"model": next(iter(models.values()), parts[next(iter(parts))]["metrics"]["model"]), "parts": parts}


def _part(run: Run, verb: str, name: str) -> dict[str, Any] | None:
    """The metrics of one run with its name, and the rows that a figure needs."""
    if name == "none":
        return None
    root = run.folder.parent.parent
    if name == NEWEST:
        finished = [folder for folder in runs.newest_first(root / f"activation-{verb}") if runs.read_metrics(folder)]
        if not finished:
            return None
        folder = finished[0]
    else:
        folder = runs.find(root, name)
    metrics = runs.read_metrics(folder)
    if metrics is None:
        raise MissingArtifactError(f"the run {folder.name} is not finished; continue it with --resume")
    return {"run": folder.name, "metrics": metrics, "rows": runs.read_rows(folder) if verb == "audit" else []}


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    parts: Mapping[str, Any] = metrics["parts"]
    lines = [f"{metrics['model']}: an atlas of {len(parts)} runs; `tenfold report RUN` writes it as one page"]
    return "\n".join([*lines, *(f"{name:>10}: {found['run']}" for name, found in parts.items())])
