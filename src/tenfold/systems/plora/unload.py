"""PeriodicLoRA (2402.16141) as a Transformers callback: at the end of each stage, unload the pair and start a new one.

    mode     S gains        A, B become                share of the live update that is still represented
    full     s B A          A new, B = 0               1
    paper    m s B A        (1-m) A, (1-m) B           m + (1-m)^2: it forgets m(1-m) at every unload
    exact    m s B A        sqrt(1-m) A, sqrt(1-m) B   1

An unload is durable before anything in the model changes: the ledger is written first. After a kill the Trainer's
checkpoint says how many stages count, and the model is folded again from them, to the same bits.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, distributed, nn
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from tenfold.core import jsonl
from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.systems.plora import telemetry
from tenfold.systems.plora.base import BaseWeights
from tenfold.systems.plora.deltas import DeltaLedger
from tenfold.systems.plora.pairs import LoraPair, find_pairs
from tenfold.systems.plora.restart import (
    Init,
    OptimizerPolicy,
    RatePolicy,
    generator_of,
    new_a,
    rate_multiplier,
    reset_optimizer,
)
from tenfold.systems.plora.shards import assign, gathered
from tenfold.systems.plora.steps import unload_steps
from tenfold.systems.plora.storage import StorageName, make_storage

Mode = Literal["full", "paper", "exact"]


class UnloadConfig(Config):
    """When to unload, how much of the live pair, and what the next stage starts with."""

    interval: int = Field(50, ge=1)
    """Optimizer steps in a stage."""
    epoch_fraction: float | None = Field(None, gt=0, le=1)
    """Length of a stage as a share of an epoch, instead of interval."""
    mode: Mode = "full"
    """full: everything, then start anew; exact or paper: a share, and go on with the rest."""
    momentum: float = Field(1.0, gt=0, le=1)
    """Share m of the live update that is unloaded; 1 in mode full, below 1 in the others."""
    init: Init = "kaiming"
    """How a new A is drawn in mode full."""
    optimizer: OptimizerPolicy | None = None
    """What happens to Adam's memory of the pair; by default fresh in mode full, else scale."""
    pruned: float = Field(0.999, ge=0, lt=1)
    """Share of both moments that prune_random and prune_magnitude set to 0."""
    rate: RatePolicy = "continue"
    """The learning rate in a new stage."""
    rewarm_steps: int = Field(10, ge=1)
    """Steps in which rewarm brings the rate back."""
    storage: StorageName = "fold"
    """Where the unloaded update acts."""
    plateau: int = Field(0, ge=0)
    """Also unload after this many evaluations in a row without a lower loss; 0: never."""
    rank_threshold: float | None = Field(None, gt=0, lt=1)
    """Also unload once the median pair has all its singular values above this share of the largest."""
    allow_single_stage: bool = False
    """Accept a run that ends before its first unload, which is plain LoRA."""
    seed: int = 0
    """Of new A's and of random pruning."""

    @model_validator(mode="after")
    def _momentum_fits_mode(self) -> "UnloadConfig":
        if self.mode == "full" and self.momentum != 1:
            raise ValueError(f"momentum is {self.momentum}, but mode full unloads everything; use mode exact")
        if self.mode != "full" and self.momentum == 1:
            raise ValueError(f"momentum 1 in mode {self.mode} leaves A = B = 0, which never learns again; use mode full")
        return self

    @property
    def policy(self) -> OptimizerPolicy:
        """The optimizer policy in force."""
        return self.optimizer or ("fresh" if self.mode == "full" else "scale")

    @property
    def factor(self) -> float:
        """By what A and B are multiplied where they are kept."""
        rest = 1 - self.momentum
        return rest if self.mode == "paper" else rest**0.5


class PeriodicUnload(TrainerCallback, ExportableState):
    """Unloads at step boundaries of Trainer or SFTTrainer; its state travels in the checkpoint.

    Args:
        config: when and how.
        folder: for `ledger/` and `stages.jsonl`; belongs to this run alone.
        trigger: a further reason to unload, asked after every optimizer step with the trainer's state.
        probe: measures the loss before and after each unload, for the telemetry.
        watch: called after each matrix of an unload, for a look at the memory.
    """

    def __init__(
        self,
        config: UnloadConfig,
        folder: Path,
        *,
        trigger: Callable[[Any], bool] | None = None,
        probe: Callable[[nn.Module], float] | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.trigger = trigger
        self.probe = probe
        self.watch = watch or (lambda: None)
        self.unloads: list[int] = []
        self.best_loss = float("inf")
        self.evaluations_without_gain = 0
        self.must_see_gradients = True

    def state(self) -> dict[str, Any]:
        """What the checkpoint keeps."""
        return {
            "args": {},
            "attributes": {
                "unloads": list(self.unloads),
                "best_loss": self.best_loss if self.best_loss < float("inf") else None,
                "evaluations_without_gain": self.evaluations_without_gain,
            },
        }

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: nn.Module, **parts: Any) -> None:
        self.pairs = find_pairs(_unwrapped(model))
        self._restore(state)
        self.plan = self._plan(args, state, parts.get("train_dataloader"))
        self.ledger = DeltaLedger(self.folder / "ledger")
        folder = str(getattr(getattr(_unwrapped(model), "config", None), "_name_or_path", "") or "")
        self.base = BaseWeights(self.pairs, folder)
        dtype = str(self.pairs[0].base.weight.dtype).removeprefix("torch.")
        self.ledger.bind(Path(folder).name, dtype, self.base.checksums(self.pairs))
        self.storage = make_storage(self.config.storage, self.pairs, self.ledger, self.base)
        self._forget_later_stages()
        self._set_rate(state, **parts)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """At the first step of each stage every pair must learn: a pair with A = B = 0 never would."""
        if not self.must_see_gradients:
            return
        self.must_see_gradients = False
        dead = [pair.name for pair in self.pairs if not any(_has_gradient(parameter) for parameter in pair.parameters)]
        if dead:
            raise ConfigError(
                f"step {state.global_step + 1}: the gradient of {dead[0]} is zero in A and in B "
                f"({len(dead)} of {len(self.pairs)} pairs); such a pair never learns, so check its initialisation "
                "and that it takes part in the loss"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: nn.Module, **parts: Any) -> None:
        reason = self._reason(state)
        if reason and state.global_step < state.max_steps:
            self.unload(state.global_step, reason, _unwrapped(model), _inner(parts["optimizer"]))
        self._set_rate(state, **parts)

    def on_evaluate(self, args: Any, state: Any, control: Any, *, metrics: dict[str, float] | None = None, **_: Any) -> None:
        loss = (metrics or {}).get("eval_loss", float("nan"))
        gained = loss < self.best_loss
        self.best_loss = loss if gained else self.best_loss
        self.evaluations_without_gain = 0 if gained else self.evaluations_without_gain + 1

    def unload(self, step: int, reason: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """One unload: ledger first, then the model, the optimizer and the telemetry."""
        started = perf_counter()
        before = self.probe(model) if self.probe else None
        pieces = {pair.name: pair.piece(self.config.momentum) for pair in self.pairs}
        meta = {
            "step": step,
            "mode": self.config.mode,
            "m": self.config.momentum,
            "trigger": reason,
            "seed": self.config.seed,
        }
        if _is_first_process():
            self.ledger.append(pieces, meta)
        _wait_for_all()
        self.unloads.append(step)
        self.evaluations_without_gain = 0
        for pair in self.pairs:
            self._restart(pair, optimizer)
            self.storage.update(pair, num_new=1)
            self.watch()
        self.must_see_gradients = True
        seconds = perf_counter() - started
        after = self.probe(model) if self.probe else None
        row = meta | telemetry.describe_unload(self.pairs, pieces, self.ledger)
        row |= {"seconds": seconds, "loss_before": before, "loss_after": after}
        if _is_first_process():
            jsonl.append(self.folder / "stages.jsonl", row)

    def _restart(self, pair: LoraPair, optimizer: torch.optim.Optimizer) -> None:
        generator = generator_of(self.config.seed, len(self.unloads), pair.name)
        with torch.no_grad():
            if self.config.mode == "full":
                assign(pair.a, new_a((pair.rank, pair.shape[1]), self.config.init, generator, self._past(pair)))
                pair.b.zero_()
            else:
                pair.a.mul_(self.config.factor)
                pair.b.mul_(self.config.factor)
        factor = self.config.factor if self.config.mode != "full" else 1.0
        reset_optimizer(optimizer, pair, self.config.policy, factor=factor, pruned=self.config.pruned, generator=generator)

    def _past(self, pair: LoraPair) -> Tensor | None:
        stacked = self.ledger.stacked(pair.name) if self.config.init == "orthogonal" else None
        return stacked[0] if stacked else None

    def _restore(self, state: Any) -> None:
        """Trainer's own restoring of callbacks would make a new one, without folder and config."""
        saved = state.stateful_callbacks.get(type(self).__name__) if state.global_step else None
        saved = saved[-1] if isinstance(saved, list) else saved
        attributes = saved["attributes"] if saved else {}
        self.unloads = list(attributes.get("unloads", []))
        best = attributes.get("best_loss")
        self.best_loss = float("inf") if best is None else best
        self.evaluations_without_gain = attributes.get("evaluations_without_gain", 0)
        self.must_see_gradients = True

    def _forget_later_stages(self) -> None:
        """Goes back to the stages that the checkpoint knows, and folds them into the model."""
        count = len(self.unloads)
        if _is_first_process():
            self.ledger.verify()
            self.ledger.truncate(count)
            _cut_lines(self.folder / "stages.jsonl", count)
        _wait_for_all()
        if len(self.ledger) < count:
            raise ConfigError(
                f"the checkpoint knows {count} stages, {self.ledger.folder} holds {len(self.ledger)}; bring back its files"
            )
        for pair in self.pairs if count else ():
            self.storage.update(pair, num_new=count)

    def _plan(self, args: Any, state: Any, loader: Any) -> frozenset[int]:
        accumulate = max(1, args.gradient_accumulation_steps)
        per_epoch = (
            max(1, -(-len(loader) // accumulate)) if loader is not None and hasattr(loader, "__len__") else state.max_steps
        )
        fraction = self.config.epoch_fraction
        interval = max(1, round(fraction * per_epoch)) if fraction else self.config.interval
        steps = unload_steps(state.max_steps, per_epoch, interval)
        others = self.trigger or self.config.plateau or self.config.rank_threshold
        if not steps and not others and not self.config.allow_single_stage:
            raise ConfigError(
                f"interval is {interval}, the run has {state.max_steps} steps, so it would end before its first unload; "
                "lower the interval, or allow_single_stage for plain LoRA"
            )
        return frozenset(steps)

    def _reason(self, state: Any) -> str | None:
        if state.global_step in self.plan:
            return "steps"
        if self.config.plateau and self.evaluations_without_gain >= self.config.plateau:
            return "plateau"
        if self.config.rank_threshold and self._is_saturated(self.config.rank_threshold):
            return "rank"
        return "callable" if self.trigger and self.trigger(state) else None

    def _is_saturated(self, threshold: float) -> bool:
        shares = []
        for pair in telemetry.spread(self.pairs):
            values = telemetry.singular_values(gathered(pair.a.detach()).cpu(), gathered(pair.b.detach()).cpu())
            shares.append(telemetry.numerical_rank(values, threshold) >= pair.rank)
        return sum(shares) * 2 > len(shares)

    def _set_rate(self, state: Any, *, optimizer: Any = None, lr_scheduler: Any = None, **_: Any) -> None:
        """Writes the next step's rate: Trainer has moved its schedule on already when it calls us."""
        if self.config.rate == "continue" or optimizer is None or lr_scheduler is None:
            return
        step = state.global_step + 1
        end = min((planned for planned in self.plan if planned >= step), default=state.max_steps)
        factor = rate_multiplier(self.config.rate, step, self.unloads, warmup=self.config.rewarm_steps, end=end)
        for group, rate in zip(_inner(optimizer).param_groups, lr_scheduler.get_last_lr(), strict=True):
            group["lr"] = rate * factor


def _has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(gathered(parameter.grad).any())


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model within a distributed wrapper."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _inner(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer within Accelerate's wrapper, which keeps no state of its own."""
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def _is_first_process() -> bool:
    return not distributed.is_initialized() or distributed.get_rank() == 0


def _wait_for_all() -> None:
    if distributed.is_initialized():
        distributed.barrier()


def _cut_lines(path: Path, count: int) -> None:
    rows: Sequence[Any] = jsonl.recover(path)[:count] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def digest(model: nn.Module) -> str:
    """One checksum over all live pairs and compute weights, for tests of equal bytes."""
    total = hashlib.sha256()
    for pair in find_pairs(_unwrapped(model)):
        for tensor in (*pair.parameters, pair.weight()):
            total.update(gathered(tensor.detach()).cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
