"""The verb `train`: fine-tune with PeriodicLoRA on rows, measure before and after, and leave an ordinary adapter.

The run directory holds `ledger/`, `stages.jsonl`, `steps.jsonl`, `checkpoints/` while it runs, and at the end `adapter/`
(rank T*r on the original base) and, if asked for, `merged/`. A killed run goes on with --resume, to the same bytes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tenfold.core import jsonl
from tenfold.core.config import Config, parse
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.store.runs import Run
from tenfold.systems.plora.data import load_rows
from tenfold.systems.plora.export import live_pieces, merge_into, save_adapter, total_pieces
from tenfold.systems.plora.pairs import find_pairs, names
from tenfold.systems.plora.unload import PeriodicUnload, UnloadConfig
from tenfold.train.adapters import LoraSettings, add_lora, parameter_count
from tenfold.train.encoding import EncodedRow, encode_all
from tenfold.train.finetune import FinetuneConfig, finetune
from tenfold.train.losses import mean_loss, row_losses


class TrainConfig(Config):
    """Fine-tune a model with PeriodicLoRA: a higher-rank update at the memory of a low-rank one."""

    model: str = "smollm2"
    """Model to fine-tune: an alias, a folder, a .gguf file or a hub id."""
    data: str = "gsm8k"
    """Rows: gsm8k, arithmetic (our own), or a JSONL file of {prompt, completion}, {messages} or {instruction, output}."""
    limit_rows: int | None = Field(None, ge=1)
    """Train on the first rows only."""
    held_out_rows: int = Field(64, ge=1)
    """Rows held out to measure on."""
    max_length: int = Field(512, ge=8)
    """Longest row in tokens; longer answers are cut."""
    dtype: models.Dtype = "fp32"
    """Type of the frozen weights while training; fp32 is exact and, on processors without bf16 products, faster."""
    merge: bool = False
    """Also write the merged model."""
    lora: LoraSettings = parse(LoraSettings, {})
    """The live pair."""
    training: FinetuneConfig = parse(FinetuneConfig, {})
    """Length, rate and order of the training."""
    unload: UnloadConfig = parse(UnloadConfig, {})
    """When and how to unload."""


def train(config: TrainConfig, run: Run) -> Metrics:
    """Measures, trains, measures again, exports."""
    path = models.resolve(config.model)
    tokenizer = models.load_tokenizer(path)
    rows, held_out = load_encoded(config.data, tokenizer, config.max_length, config.limit_rows, config.held_out_rows)
    model = add_lora(models.load_transformers(path, config.dtype), config.lora, seed=config.unload.seed)
    before = _once(run, "before", model, held_out)
    unload = PeriodicUnload(config.unload, run.folder)
    steps = finetune(model, tokenizer, rows, config.training, run.folder, callbacks=[unload])
    after = _once(run, "after", model, held_out)
    pieces = total_pieces(unload.ledger, live_pieces(find_pairs(model)), names(unload.pairs))
    save_adapter(pieces, run.folder / "adapter", config.model)
    tokenizer.save_pretrained(run.folder / "adapter")
    if config.merge:
        _save_merged(model, unload, tokenizer, run.folder / "merged")
    stages = jsonl.recover(run.folder / "stages.jsonl")
    return {
        "model": config.model,
        "rows": len(rows),
        "steps": len(steps),
        "stages": len(stages) + 1,
        "live_rank": config.lora.rank,
        "total_rank": max(len(a) for a, _ in pieces.values()),
        "trainable_parameters": parameter_count(model, trainable=True),
        "loss_before": before,
        "loss_after": after,
        "train_loss_first": steps[0]["loss"],
        "train_loss_last": steps[-1]["loss"],
        "unload_seconds": sum(stage["seconds"] for stage in stages),
        "adapter": "adapter",
    }


def load_encoded(
    data: str, tokenizer: PreTrainedTokenizerBase, max_length: int, limit: int | None, num_held_out: int
) -> tuple[list[EncodedRow], list[EncodedRow]]:
    """Rows to train on and rows to measure on, as token ids; only rows that are used are encoded."""
    rows, held_out = load_rows(data)
    return encode_all(rows[:limit], tokenizer, max_length), encode_all(held_out[:num_held_out], tokenizer, max_length)


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    return (
        f"{metrics['steps']} steps in {metrics['stages']} stages of rank {metrics['live_rank']}: "
        f"an update of rank {metrics['total_rank']}\n"
        f"held-out loss {metrics['loss_before']:.4f} -> {metrics['loss_after']:.4f} nats per token\n"
        f"the adapter is in the run's folder {metrics['adapter']}/; any program that reads PEFT LoRA loads it"
    )


def _once(run: Run, name: str, model: Any, rows: Sequence[EncodedRow]) -> float:
    """The held-out loss, measured unless the run holds it already."""
    if name not in run.rows:
        run.add(name, {"loss": mean_loss(row_losses(model, rows))})
    return run.rows[name]["loss"]


def _save_merged(model: Any, unload: PeriodicUnload, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    merge_into(unload.pairs, unload.ledger, unload.base, live_pieces(unload.pairs))
    plain = model.unload()
    assert isinstance(plain, PreTrainedModel), type(plain)
    with models.quiet():
        plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
