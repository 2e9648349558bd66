"""One fine-tuning run on TRL's SFTTrainer: encoded rows in, a trained model and its losses out.

The run survives kill -9: checkpoints lie in `folder/checkpoints`, each with a mark that says it is whole, and a second
call continues after the newest whole one. On the CPU in fp32 the losses are then the same, bit for bit.
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from pydantic import Field
from transformers import PreTrainedTokenizerBase, PrinterCallback, Trainer, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from tenfold.core.config import Config
from tenfold.store.progress import counter
from tenfold.train.batching import Batching
from tenfold.train.checkpoints import (
    CheckpointMarks,
    RenamedWeights,
    StepCounter,
    StepLog,
    load_renamed,
    newest_whole,
    quiet_trainer,
    restore,
    steps_of,
)
from tenfold.train.encoding import EncodedRow
from tenfold.train.order import by_length


class FinetuneConfig(Config):
    """How long, how fast and in which order to train."""

    epochs: float = Field(1.0, gt=0)
    """Passes over the rows."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer steps in all; overrides epochs."""
    batch_size: int = Field(8, ge=1)
    """Rows in one forward pass."""
    accumulate: int = Field(1, ge=1)
    """Forward passes in one optimizer step."""
    learning_rate: float = Field(2e-4, gt=0)
    """The highest rate."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """The course of the rate after the warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps in which the rate rises from 0."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's weight decay."""
    beta2: float = Field(0.999, gt=0, lt=1)
    """AdamW's decay of the second moment."""
    clip: float = Field(1.0, ge=0)
    """Largest gradient norm; 0 does not clip."""
    autocast: bool = False
    """Compute products in bf16 whatever the type of the weights; for graphics processors."""
    save_every: int = Field(50, ge=1)
    """Optimizer steps between checkpoints."""
    order: Literal["random", "length"] = "random"
    """random; or batches of rows of like length in random order, the same in every epoch, which wastes least on padding."""
    seed: int = 0
    """Of the order of rows and of dropout."""


def finetune(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    rows: Sequence[Any],
    config: FinetuneConfig,
    folder: Path,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    batching: Batching | None = None,
) -> list[dict[str, Any]]:
    """Trains `model` in place; returns one {step, loss, learning_rate, grad_norm, epoch} per optimizer step.

    Args:
        tokenizer: may be None with `batching`.
        rows: from `encoding.encode_all`, with the loss on the answers alone; or whatever `batching` takes.
        folder: of this run; holds `checkpoints/` and `steps.jsonl`. A second call with the same folder continues.
        callbacks: methods that plug in at step boundaries.
        batching: how rows of another kind become batches, and their loss.
    """
    rows = by_length(rows, config.batch_size, seed=config.seed) if config.order == "length" else rows
    last = newest_whole(folder / "checkpoints")
    log = StepLog(folder / "steps.jsonl", steps_of(last))
    with quiet_trainer(), counter("Training", total=num_steps(len(rows), config)) as advance:
        shared = {
            "model": model,
            "args": _arguments(config, folder),
            "processing_class": tokenizer,
            "callbacks": [log, *callbacks, RenamedWeights(model), CheckpointMarks(), StepCounter(advance)],
        }
        trainer = _batching_trainer(rows, batching, shared) if batching else _answer_trainer(rows, shared)
        trainer.remove_callback(PrinterCallback)  # it writes to stdout, which is for results
        if last and steps_of(last) >= num_steps(len(rows), config):
            restore(trainer, last)
        else:
            if last:
                load_renamed(model, last)
            trainer.train(resume_from_checkpoint=str(last) if last else None)
    return log.steps


def _answer_trainer(rows: Sequence[EncodedRow], shared: dict[str, Any]) -> Trainer:
    return SFTTrainer(train_dataset=Dataset.from_list([_columns(row) for row in rows]), **shared)


def _batching_trainer(rows: Sequence[Any], batching: Batching, shared: dict[str, Any]) -> Trainer:
    dataset: Any = list(rows)
    return Trainer(train_dataset=dataset, data_collator=batching.collate, compute_loss_func=batching.loss, **shared)


def num_steps(num_rows: int, config: FinetuneConfig) -> int:
    """Optimizer steps of a whole run; the last step of an epoch may be short."""
    if config.max_steps is not None:
        return config.max_steps
    batches = ceil(num_rows / config.batch_size)
    return max(1, ceil(config.epochs * ceil(batches / config.accumulate)))


def _columns(row: EncodedRow) -> dict[str, list[int]]:
    return {"input_ids": list(row.ids), "completion_mask": [0] * row.num_prompt + [1] * row.num_learned}


def _arguments(config: FinetuneConfig, folder: Path) -> SFTConfig:
    return SFTConfig(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        learning_rate=config.learning_rate,
        lr_scheduler_type=_scheduler(config),
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        adam_beta2=config.beta2,
        max_grad_norm=config.clip,
        seed=config.seed,
        data_seed=config.seed,
        train_sampling_strategy="random" if config.order == "random" else "sequential",
        save_strategy="steps",
        save_steps=config.save_every,
        logging_steps=1,
        disable_tqdm=True,
        report_to=[],
        max_length=None,
        activation_checkpointing=False,
        bf16=config.autocast,
        dataloader_pin_memory=torch.cuda.is_available(),
        completion_only_loss=True,
    )


def _scheduler(config: FinetuneConfig) -> str:
    return "constant_with_warmup" if config.schedule == "constant" and config.warmup_steps else config.schedule
