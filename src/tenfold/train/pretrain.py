"""One pre-training run on Transformers' Trainer: packed blocks in, a trained model and its losses out.

Resumes exactly as `finetune` does: the newest whole checkpoint, then the same batches. On the CPU in fp32 the losses are
the same, bit for bit. Losses besides the cross-entropy are added by `extra`, and logged apart.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError, NumericalError
from tenfold.store.progress import counter
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

Extra = Callable[[tuple[int, int]], Tensor]
"""From the shape [B, S] of the batch that the model has just seen to a loss to add."""


class PretrainConfig(Config):
    """How long, how fast and in which order to train. The rates are those of DeepSeekMoE, for the size that it trained."""

    steps: int = Field(1000, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(8, ge=1)
    """Blocks in one forward pass."""
    accumulate: int = Field(1, ge=1)
    """Forward passes in one optimizer step."""
    learning_rate: float = Field(1e-3, gt=0)
    """The highest rate."""
    schedule: Literal["steps", "cosine", "constant"] = "steps"
    """After the warm-up: down by .316 at 80 % and at 90 % of the steps; a cosine to a tenth; or no change."""
    warmup_steps: int = Field(50, ge=0)
    """Steps in which the rate rises from 0."""
    weight_decay: float = Field(0.1, ge=0)
    """AdamW's weight decay, on matrices alone."""
    beta2: float = Field(0.95, gt=0, lt=1)
    """AdamW's decay of the second moment."""
    clip: float = Field(1.0, ge=0)
    """Largest gradient norm; 0 does not clip."""
    autocast: bool = False
    """Compute products in bf16 whatever the type of the weights."""
    compiled: bool = False
    """Compile the model; worth it on graphics processors and for long runs."""
    save_every: int = Field(200, ge=1)
    """Optimizer steps between checkpoints."""
    seed: int = 0
    """Of the order of blocks."""


class Blocks(Dataset):
    """Packed blocks [N, S] as Trainer takes them; every token but the first of a block is learned."""

    def __init__(self, blocks_NS: Tensor) -> None:
        self.blocks_NS = blocks_NS

    def __len__(self) -> int:
        return len(self.blocks_NS)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        return {"input_ids": self.blocks_NS[place], "labels": self.blocks_NS[place]}


class LossMeter:
    """The loss that Trainer minimises: cross-entropy, plus `extra`. Remembers both apart for the log."""

    def __init__(self, config: PretrainConfig, extra: Extra | None) -> None:
        self.extra, self.accumulate = extra, config.accumulate
        self.processes = 1
        self.sums = {"cross_entropy": 0.0, "extra": 0.0}

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        """Scaled so that an optimizer step has the gradients of its mean over tokens, on any number of processes."""
        logits_BSV = outputs.logits[:, :-1]
        items = num_items_in_batch if num_items_in_batch is not None else labels[:, 1:].numel() * self.accumulate
        total = functional.cross_entropy(logits_BSV.flatten(0, 1).float(), labels[:, 1:].flatten(), reduction="sum")
        loss = total / items
        self.sums["cross_entropy"] += float(total.detach()) / (labels[:, 1:].numel() * self.accumulate)
        if self.extra is not None:
            more = self.extra(cast(tuple[int, int], tuple(labels.shape)))
            self.sums["extra"] += float(more.detach()) / self.accumulate
            loss = loss + more / (self.accumulate * self.processes)
        if not torch.isfinite(loss):
            raise NumericalError(f"the loss is {loss.item()}; lower the learning rate, or look at the last checkpoint")
        return loss

    def take(self) -> dict[str, float]:
        """What has been added up since the last call."""
        found = self.sums
        self.sums = dict.fromkeys(found, 0.0)
        return found


class PretrainLog(StepLog):
    """A `StepLog` whose loss is this process's cross-entropy alone, with the other losses beside it."""

    def __init__(self, path: Path, num_done: int, meter: LossMeter) -> None:
        super().__init__(path, num_done)
        self.meter = meter

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            found = self.meter.take()
            super().on_log(args, state, control, logs={**logs, "loss": found["cross_entropy"]})
            if state.is_world_process_zero and self.meter.extra is not None:
                self.steps[-1]["extra"] = found["extra"]


def pretrain(
    model: PreTrainedModel,
    blocks_NS: Tensor,
    config: PretrainConfig,
    folder: Path,
    *,
    extra: Extra | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    undecayed: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Trains `model` in place; returns one {step, loss, learning_rate, grad_norm, epoch} per optimizer step.

    Args:
        blocks_NS: token ids; seen once in shuffled order, then again in another one.
        folder: of this run; holds `checkpoints/` and `steps.jsonl`. A second call with the same folder continues.
        extra: called after each forward pass in training.
        undecayed: ends of the names of matrices that get no weight decay.

    Raises:
        ConfigError: there are fewer blocks than a step takes.
        NumericalError: the loss is no number.
    """
    if len(blocks_NS) < config.batch_size:
        raise ConfigError(f"{len(blocks_NS)} blocks are fewer than batch_size {config.batch_size}; lower it or add text")
    last = newest_whole(folder / "checkpoints")
    meter = LossMeter(config, extra)
    log = PretrainLog(folder / "steps.jsonl", steps_of(last), meter)
    with quiet_trainer(), counter("Pre-training", total=config.steps) as advance:
        trainer = Trainer(
            model=model,
            args=_arguments(config, folder),
            train_dataset=Blocks(blocks_NS),
            compute_loss_func=meter,
            optimizers=_optimizer(model, config, undecayed),
            callbacks=[log, *callbacks, RenamedWeights(model), CheckpointMarks(), StepCounter(advance)],
        )
        trainer.remove_callback(PrinterCallback)  # it writes to stdout, which is for results
        meter.processes = trainer.accelerator.num_processes
        if last and steps_of(last) >= config.steps:
            restore(trainer, last)
        else:
            if last:
                load_renamed(model, last)
            trainer.train(resume_from_checkpoint=str(last) if last else None)
    return log.steps


def rate_at(step: int, config: PretrainConfig) -> float:
    """The rate of a step (from 0), as a share of the highest."""
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    done = step / config.steps
    if config.schedule == "steps":
        return 0.316 ** ((done >= 0.8) + (done >= 0.9))
    if config.schedule == "cosine":
        return 0.55 + 0.45 * float(torch.cos(torch.tensor(done * torch.pi)))
    return 1.0


def _optimizer(model: nn.Module, config: PretrainConfig, undecayed: Sequence[str]) -> tuple[AdamW, LambdaLR]:
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    decays = {name: weight.dim() > 1 and not name.endswith(tuple(undecayed)) for name, weight in trained.items()}
    groups = [
        {"params": [weight for name, weight in trained.items() if decays[name]], "weight_decay": config.weight_decay},
        {"params": [weight for name, weight in trained.items() if not decays[name]], "weight_decay": 0.0},
    ]
    optimizer = AdamW([group for group in groups if group["params"]], lr=config.learning_rate, betas=(0.9, config.beta2))
    return optimizer, LambdaLR(optimizer, lambda step: rate_at(step, config))


def _arguments(config: PretrainConfig, folder: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        learning_rate=config.learning_rate,
        max_grad_norm=config.clip,
        seed=config.seed,
        data_seed=config.seed,
        save_strategy="steps",
        save_steps=config.save_every,
        logging_steps=1,
        disable_tqdm=True,
        report_to=[],
        bf16=config.autocast,
        torch_compile=config.compiled,
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_drop_last=True,
    )
