"""The verb `train`: fine-tune with PeriodicLoRA on rows, measure before and after, and leave an ordinary adapter.

The run directory holds `ledger/`, `stages.jsonl`, `steps.jsonl` and `checkpoints/` while it runs, and at the end
`live.safetensors` (the pair that was not unloaded), `compute.json` (checksums of the weights it ended with), `adapter/`
(rank T*r on the original base) and, if asked for, `merged/`. A killed run goes on with --resume, to the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel
from pydantic import Field
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerBase

from tenfold.core import jsonl
from tenfold.core.config import Config, parse
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.store import atomic
from tenfold.store.runs import Run
from tenfold.systems.plora.data import load_rows
from tenfold.systems.plora.deltas import Piece
from tenfold.systems.plora.export import save_adapter
from tenfold.systems.plora.method import PeriodicMethod
from tenfold.systems.plora.methods import load_base, load_tokenizer
from tenfold.systems.plora.settings import UnloadConfig
from tenfold.train.adapters import LoraSettings, add_lora, parameter_count
from tenfold.train.encoding import EncodedRow, encode_all
from tenfold.train.finetune import FinetuneConfig, finetune
from tenfold.train.losses import mean_loss, row_losses

LIVE = "live.safetensors"
COMPUTE = "compute.json"


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
    probe_rows: int = Field(0, ge=0)
    """Held-out rows whose loss is measured before and after each unload; 0 measures none."""
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
    tokenizer = load_tokenizer(config.model)
    rows, held_out = load_encoded(config.data, tokenizer, config.max_length, config.limit_rows, config.held_out_rows)
    model = add_lora(load_base(config.model, config.dtype), config.lora, seed=config.unload.seed)
    before = _once(run, "before", model, held_out)
    trainable = parameter_count(model, trainable=True)  # before merging, which leaves nothing to train
    method = PeriodicMethod(config.unload.model_dump(), run.folder, probe=_probe(held_out[: config.probe_rows]))
    steps = finetune(model, tokenizer, rows, config.training, run.folder, callbacks=method.callbacks)
    after = _once(run, "after", model, held_out)
    pieces = _leave(config, run, method, tokenizer)
    if config.merge:
        _save_merged(model, method, tokenizer, run.folder / "merged")
    stages = _record(run, steps)
    return {
        "model": config.model,
        "data": config.data,
        "rows": len(rows),
        "steps": len(steps),
        "stages": len(stages) + 1,
        "mode": config.unload.mode,
        "live_rank": config.lora.rank,
        "total_rank": max(len(a) for a, _ in pieces.values()),
        "trainable_parameters": trainable,
        "loss_before": before,
        "loss_after": after,
        "train_loss_first": steps[0]["loss"],
        "train_loss_last": steps[-1]["loss"],
        "unload_seconds": sum(stage["seconds"] for stage in stages),
        "adapter": "adapter",
    }


def _leave(config: TrainConfig, run: Run, method: PeriodicMethod, tokenizer: PreTrainedTokenizerBase) -> Mapping[str, Piece]:
    """Writes the adapter, the live pair, and the checksums of the compute weights; returns the whole update."""
    parts = {(name, part): tensor for name, piece in method.live().items() for part, tensor in zip("AB", piece, strict=True)}
    tensors = {f"{name}.{part}": tensor for (name, part), tensor in parts.items()}
    atomic.write_file(run.folder / LIVE, lambda scratch: save_file(tensors, scratch))
    atomic.write_json(run.folder / COMPUTE, method.unload.base.checksums(method.unload.pairs))
    pieces = method.pieces()
    save_adapter(pieces, run.folder / "adapter", config.model)
    tokenizer.save_pretrained(run.folder / "adapter")
    return pieces


def _record(run: Run, steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Losses and telemetry as rows of the run, for its page; returns the telemetry."""
    stages = jsonl.recover(run.folder / "stages.jsonl")
    if "steps" not in run.rows:
        run.add("steps", {"losses": [step["loss"] for step in steps]})
        run.add("stages", {"stages": stages})
    return stages


def _probe(rows: Sequence[EncodedRow]) -> Callable[[nn.Module], float] | None:
    return (lambda model: mean_loss(row_losses(model, rows))) if rows else None


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


def _save_merged(model: PeftModel, method: PeriodicMethod, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    plain = method.merge(model)
    with models.quiet():
        plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
