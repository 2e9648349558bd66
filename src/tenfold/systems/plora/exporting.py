"""The verb `export`: an ordinary adapter, or merged weights, from the stages of a finished run, with a card.

The card says what is in the folder and the largest difference of a logit between the adapter and the merged weights:
the adapter keeps fp32 factors, the merged weights are rounded once to the type of the base.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import PeftModel
from pydantic import Field
from transformers import PreTrainedModel

from tenfold.core.config import Config
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.store import atomic, runs
from tenfold.store.runs import Run
from tenfold.systems.plora.deltas import Piece
from tenfold.systems.plora.export import compressed, save_adapter, total_pieces
from tenfold.systems.plora.methods import load_base
from tenfold.systems.plora.opened import OpenedModel, OpenedRun, logits, open_finished, probe_ids
from tenfold.systems.plora.pairs import names


class ExportConfig(Config):
    """Export a finished run of plora train: an ordinary PEFT adapter on the original base, and merged weights."""

    run: str
    """Run of plora train: a folder, its name, or a unique beginning of its name."""
    stages: str | None = None
    """Only these stages, for example 1,3; the last number is the live pair; all if left out."""
    energy: float | None = Field(None, gt=0, le=1)
    """Compress each matrix to the smallest rank that keeps this share of its squared singular values."""
    merged: bool = False
    """Also write the merged model."""
    out: str | None = None
    """Where to write; the folder of this run of export if left out."""


def export(config: ExportConfig, run: Run) -> Metrics:
    """Writes the adapter and its card, measures it against the merged weights, and writes these if asked for."""
    opened = open_finished(config.run, run)
    numbers = opened.stages(config.stages)
    ledger, live = opened.chosen(numbers)
    model = opened.load()
    pieces, kept = _smaller(total_pieces(ledger, live, names(model.pairs)), config.energy)
    folder = Path(config.out) if config.out else run.folder
    save_adapter(pieces, folder / "adapter", opened.config.model)
    opened.tokenizer.save_pretrained(folder / "adapter")
    model.fold(ledger, live)
    metrics = {
        "run": opened.name,
        "model": opened.config.model,
        "stages": sorted(numbers),
        "rank": max(len(a) for a, _ in pieces.values()),
        "energy_kept": kept,
        "max_logit_gap": _gap(opened, model, folder / "adapter"),
        "adapter": str(folder / "adapter"),
        "merged": str(folder / "merged") if config.merged else None,
    }
    _write_card(folder / "adapter", opened, metrics)
    if config.merged:
        _save_merged(model, opened, folder / "merged")
        _write_card(folder / "merged", opened, metrics)
    return metrics


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    kept = "" if metrics["energy_kept"] is None else f", {metrics['energy_kept']:.4f} of the energy of the least kept matrix"
    merged = f"\nmerged model: {metrics['merged']}" if metrics["merged"] else ""
    return (
        f"stages {', '.join(map(str, metrics['stages']))} of {metrics['run']}: rank {metrics['rank']}{kept}\n"
        f"adapter: {metrics['adapter']}{merged}\n"
        f"largest difference of a logit between adapter and merged weights: {metrics['max_logit_gap']:.2e}"
    )


def _smaller(pieces: Mapping[str, Piece], energy: float | None) -> tuple[Mapping[str, Piece], float | None]:
    """Compressed pieces and the least share kept; the pieces themselves without a share to keep."""
    if energy is None:
        return pieces, None
    smaller = {name: compressed(piece, energy) for name, piece in pieces.items()}
    return {name: piece for name, (piece, _) in smaller.items()}, min(kept for _, kept in smaller.values())


def _gap(opened: OpenedRun, merged: OpenedModel, adapter: Path) -> float:
    """Largest |difference| of a logit on fixed text."""
    ids = probe_ids(opened)
    adapted = PeftModel.from_pretrained(load_base(opened.config.model, opened.config.dtype), str(adapter)).eval()
    return float((logits(adapted, ids) - logits(merged.model, ids)).abs().max())


def _save_merged(model: OpenedModel, opened: OpenedRun, folder: Path) -> None:
    plain: Any = model.model.unload()  # pyright: ignore[reportCallIssue]
    assert isinstance(plain, PreTrainedModel), type(plain)
    with models.quiet():
        plain.save_pretrained(folder)
    opened.tokenizer.save_pretrained(folder)


def _write_card(folder: Path, opened: OpenedRun, metrics: Metrics) -> None:
    """README.md, in the form that model hubs read."""
    trained = runs.read_metrics(opened.folder) or {}
    unload = opened.config.unload
    kept = metrics["energy_kept"]
    lines = [
        "---",
        f"base_model: {metrics['model']}",
        "library_name: peft" if folder.name == "adapter" else "library_name: transformers",
        "tags: [periodiclora, lora]",
        "---",
        "",
        f"# PeriodicLoRA on {metrics['model']}",
        "",
        "Trained with PeriodicLoRA (arXiv 2402.16141): LoRA in short stages, each unloaded into the weights at its end.",
        "",
        f"- Data: {opened.config.data}",
        f"- Stages in here: {', '.join(map(str, metrics['stages']))} of {opened.num_stages}; mode {unload.mode},"
        f" share {unload.momentum:g}",
        f"- Rank of a live pair: {opened.config.lora.rank}; largest rank in here: {metrics['rank']}",
        *([] if kept is None else [f"- Compressed: every matrix keeps at least {kept:.6f} of its squared singular values"]),
        f"- Largest difference of a logit between this adapter and the merged weights: {metrics['max_logit_gap']:.3e}",
    ]
    if trained and len(metrics["stages"]) == opened.num_stages and kept is None:
        lines.append(
            f"- Held-out loss: {trained['loss_before']:.4f} before, {trained['loss_after']:.4f} after (nats per token)"
        )
    atomic.write_text(folder / "README.md", "\n".join(lines) + "\n")
