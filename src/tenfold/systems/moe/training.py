"""The verb `train`: one rung of the ladder, from text to a checkpoint.

A killed run goes on with --resume, to the same bytes.
"""

from pathlib import Path
from typing import Any

from pydantic import Field
from transformers import TrainerCallback

from tenfold.core.config import parse
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.store.runs import Run
from tenfold.systems.moe.unit import UnitConfig, train_unit
from tenfold.train.packed_corpus import CorpusConfig, load_corpus


class TrainConfig(UnitConfig):
    """Pre-train a mixture of experts, or one of its baselines, on your text or on Python's own sources."""

    rung: str = "deepseekmoe"
    """Which model: dense, hash, switch, gshard, shared, fine, deepseekmoe, half, gshard-x1.5, dense-x16 and others."""
    corpus: CorpusConfig = parse(CorpusConfig, {})
    """The text, its tokenizer, and what is held out."""
    seed: int = 0
    """Of the first weights and of the order of blocks."""
    snapshots: int = Field(0, ge=0)
    """Models to keep along the way, at equal distances, for the analysis of saturation."""


class Snapshots(TrainerCallback):
    """Saves the model at equal distances, as `snapshots/step-N`."""

    def __init__(self, folder: Path, num_steps: int, count: int) -> None:
        self.folder = folder
        self.steps = {round(num_steps * part / (count + 1)) for part in range(1, count + 1)}

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        if state.global_step in self.steps and state.is_world_process_zero:
            with models.quiet():
                parts["model"].save_pretrained(self.folder / f"step-{state.global_step}")


def train(config: TrainConfig, run: Run) -> Metrics:
    """Prepares the corpus, trains, measures on held-out documents."""
    corpus = load_corpus(config.corpus)
    if "unit" not in run.rows:
        keeping = Snapshots(run.folder / "snapshots", config.training.steps, config.snapshots)
        run.add("unit", train_unit(config.rung, config, corpus, config.seed, run.folder, callbacks=[keeping]))
    row = run.rows["unit"]
    for warning in row["warnings"]:
        run.log(warning)
    return {
        "rung": config.rung,
        "loss": row["loss"],
        "training_loss_first": row["training"][0],
        "training_loss_last": row["training"][-1],
        "parameters": row["parameters"],
        "activated_parameters": row["activated"],
        "tokens": row["tokens"],
        "tokens_per_second": row["tokens"] / row["seconds"],
        "balance": row.get("balance"),
        "warnings": row["warnings"],
        "held_out_documents": len(row["held_out"]),
        "sources": list(config.corpus.sources),
        "model": "model",
    }


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{metrics['rung']}: {metrics['parameters'] / 1e6:.2f} M parameters, "
        f"{metrics['activated_parameters'] / 1e6:.2f} M of them active for a token",
        f"loss {metrics['training_loss_first']:.3f} -> {metrics['training_loss_last']:.3f} on its last batch, "
        f"{metrics['loss']:.4f} nats per token on {metrics['held_out_documents']} held-out documents",
    ]
    if balance := metrics["balance"]:
        lines.append(f"busiest expert {1 + balance['max_violation']:.2f} times the mean load, {balance['dead']} dead")
    return "\n".join([*lines, *metrics["warnings"], "the model is in the run's folder model/; Transformers loads it"])
