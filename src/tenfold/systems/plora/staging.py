"""The verb `stages`: what each stage did, which of them hurt, and back to an earlier one.

Every stage is kept as factors, so the model without stage 3 is the base plus all others: no training is repeated.
"""

import shutil
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from tenfold.core import jsonl
from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store import atomic
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.plora.export import save_adapter, total_pieces
from tenfold.systems.plora.opened import OpenedModel, OpenedRun, open_finished, open_run
from tenfold.systems.plora.training import COMPUTE, LIVE, load_encoded
from tenfold.train.encoding import EncodedRow
from tenfold.train.losses import mean_loss, row_losses

ALL = "all"
TOLD = ("step", "mode", "m", "trigger", "relative_norm", "stable_rank", "total_rank", "overlap", "loss_before", "loss_after")


class StagesConfig(Config):
    """List the stages of a run of plora train, measure without some of them, or go back to an earlier one."""

    run: str
    """Run of plora train: a folder, its name, or a unique beginning of its name."""
    drop: str | None = None
    """Stages to leave out when measuring, for example 3,5; the last number is the live pair."""
    evaluate: bool = False
    """Measure the held-out loss with all stages and without those of drop; without drop, with each one left out."""
    keep: int | None = Field(None, ge=1)
    """Go back for good: keep this many stages and forget all later ones."""
    held_out_rows: int | None = Field(None, ge=1)
    """Rows to measure on; as many as in training if left out."""

    @model_validator(mode="after")
    def _one_thing_at_a_time(self) -> "StagesConfig":
        if self.keep is not None and (self.drop or self.evaluate):
            raise ValueError("keep forgets stages for good, drop and evaluate only measure; give one of the two")
        if self.drop and not self.evaluate:
            raise ValueError(f"drop is {self.drop!r}, which changes nothing by itself; add evaluate to measure without them")
        return self


def stages(config: StagesConfig, run: Run) -> Metrics:
    """Lists, measures or goes back."""
    if config.keep is not None:
        return _go_back(open_run(config.run, run), config.keep)
    opened = open_finished(config.run, run)
    table = _table(opened)
    metrics = {"run": opened.name, "stages": opened.num_stages, "table": table}
    return metrics | (_measured(config, opened, run) if config.evaluate else {})


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    if "kept" in metrics:
        return (
            f"{metrics['run']} is back at stage {metrics['kept']}; {metrics['forgotten']} later stages are gone, and so are "
            "its live pair and its metrics"
        )
    lines = [f"{metrics['run']}: {metrics['stages']} stages", *(_line(row) for row in metrics["table"])]
    for left_out, loss in metrics.get("loss_without", {}).items():
        change = loss - metrics["loss"]
        lines.append(f"without {left_out}: held-out loss {loss:.4f} ({change:+.4f})")
    if "hurt" in metrics:
        lines.append(f"stages that hurt: {', '.join(metrics['hurt']) or 'none'}")
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    if row["step"] is None:
        return f"{row['stage']:>4}  the live pair"
    loss = "" if row.get("loss_before") is None else f"  loss {row['loss_before']:.4f} -> {row['loss_after']:.4f}"
    numbers = "".join(
        f"  {name} {row[key]:.3g}"
        for name, key in (("size", "relative_norm"), ("rank so far", "total_rank"), ("overlap", "overlap"))
        if row.get(key) is not None
    )
    return f"{row['stage']:>4}  step {row['step']}  {row['mode']} ({row['trigger']}){numbers}{loss}"


def _table(opened: OpenedRun) -> list[dict[str, Any]]:
    told = {row["step"]: row for row in opened.telemetry}
    rows = [
        {"stage": stage.number} | {key: (told.get(stage.meta["step"], {}) | stage.meta).get(key) for key in TOLD}
        for stage in opened.ledger.stages()
    ]
    return [*rows, *([{"stage": len(rows) + 1, "step": None, "mode": "live"}] if opened.live else [])]


def _measured(config: StagesConfig, opened: OpenedRun, run: Run) -> Metrics:
    """{loss, loss_without: {stages left out: loss}, hurt: those without which the loss is lower}."""
    every = opened.stages(None)
    if config.drop:
        opened.stages(config.drop)
    subsets = [config.drop] if config.drop else [str(number) for number in sorted(every)]
    model, rows = opened.load(), _held_out(config, opened)
    losses = {}
    for subset in track([ALL, *subsets], "Measuring"):
        left_out = frozenset[int]() if subset == ALL else opened.stages(subset)
        losses[subset] = _loss(run, opened, model, rows, subset, every - left_out)
    whole = losses.pop(ALL)
    return {"loss": whole, "loss_without": losses, "hurt": [subset for subset, loss in losses.items() if loss < whole]}


def _loss(
    run: Run, opened: OpenedRun, model: OpenedModel, rows: list[EncodedRow], subset: str, numbers: frozenset[int]
) -> float:
    key = f"without-{subset}"
    if key not in run.rows:
        model.fold(*opened.chosen(numbers))
        run.add(key, {"loss": mean_loss(row_losses(model.model, rows))})
    return run.rows[key]["loss"]


def _held_out(config: StagesConfig, opened: OpenedRun) -> list[EncodedRow]:
    trained = opened.config
    count = config.held_out_rows or trained.held_out_rows
    return load_encoded(trained.data, opened.tokenizer, trained.max_length, 1, count)[1]


def _go_back(opened: OpenedRun, keep: int) -> Metrics:
    """Forgets what came after; the adapter is written anew, and training can go on from the checkpoints before."""
    ledger, count = opened.ledger, len(opened.ledger)
    if keep > count:
        raise ConfigError(f"keep is {keep}, but {opened.name} has unloaded {count} stages; give 1 to {count}")
    ledger.truncate(keep)
    ledger.verify()
    told = opened.telemetry[:keep]
    atomic.write_text(opened.folder / "stages.jsonl", "")
    for row in told:
        jsonl.append(opened.folder / "stages.jsonl", row)
    _remove_later(opened.folder, ledger.stages()[-1].meta["step"])
    names = ledger.matrices()
    save_adapter(total_pieces(ledger, {}, names), opened.folder / "adapter", opened.config.model)
    return {"run": opened.name, "kept": keep, "forgotten": count - keep, "adapter": "adapter"}


def _remove_later(folder: Path, step: int) -> None:
    """All that knows of later stages: `metrics.json` too, since the run is no longer what it says."""
    for name in ("metrics.json", LIVE, COMPUTE):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "merged", ignore_errors=True)
    for checkpoint in folder.glob("checkpoints/checkpoint-*"):
        if int(checkpoint.name.rsplit("-", 1)[1]) > step:
            shutil.rmtree(checkpoint)
