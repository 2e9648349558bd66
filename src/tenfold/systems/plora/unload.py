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
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError
from tenfold.systems.plora import telemetry
from tenfold.systems.plora.base import BaseWeights
from tenfold.systems.plora.deltas import DeltaLedger
from tenfold.systems.plora.pairs import LoraPair, find_pairs
from tenfold.systems.plora.processes import inner_optimizer, is_first_process, unwrapped, wait_for_all
from tenfold.systems.plora.restart import generator_of, new_a, rate_multiplier, reset_optimizer
from tenfold.systems.plora.settings import UnloadConfig
from tenfold.systems.plora.shards import assign, gathered
from tenfold.systems.plora.storage import make_storage
from tenfold.systems.plora.triggers import Asked, Triggers


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
        trigger: Asked | None = None,
        probe: Callable[[nn.Module], float] | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.triggers = Triggers(config, trigger)
        self.probe = probe
        self.watch = watch or (lambda: None)
        self.unloads: list[int] = []
        self.must_see_gradients = True

    def state(self) -> dict[str, Any]:
        """What the checkpoint keeps."""
        return {"args": {}, "attributes": {"unloads": list(self.unloads), **self.triggers.state}}

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: nn.Module, **parts: Any) -> None:
        self.pairs = find_pairs(unwrapped(model))
        self._restore(state)
        self.triggers.begin(args, state, parts.get("train_dataloader"))
        self.ledger = DeltaLedger(self.folder / "ledger")
        folder = str(getattr(getattr(unwrapped(model), "config", None), "_name_or_path", "") or "")
        self.base = BaseWeights(self.pairs, folder)
        dtype = str(self.pairs[0].frozen.dtype).removeprefix("torch.")
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
        reason = self.triggers.reason(state, self.pairs)
        if reason and state.global_step < state.max_steps:
            self.unload(state.global_step, reason, unwrapped(model), inner_optimizer(parts["optimizer"]))
        self._set_rate(state, **parts)

    def on_evaluate(self, args: Any, state: Any, control: Any, *, metrics: dict[str, float] | None = None, **_: Any) -> None:
        self.triggers.evaluated((metrics or {}).get("eval_loss", float("nan")))

    def unload(self, step: int, reason: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """One unload: ledger first, then the model, the optimizer and the telemetry."""
        started = perf_counter()
        before = self.probe(model) if self.probe else None
        meta = self._append(step, reason)
        for pair in self.pairs:
            self._restart(pair, optimizer)
            self.storage.update(pair, num_new=1)
            self.watch()
        self.must_see_gradients = True
        seconds = perf_counter() - started
        after = self.probe(model) if self.probe else None
        row = meta | telemetry.describe_unload(self.pairs, self.ledger)
        row |= {"seconds": seconds, "loss_before": before, "loss_after": after}
        if is_first_process():
            jsonl.append(self.folder / "stages.jsonl", row)

    def _append(self, step: int, reason: str) -> dict[str, Any]:
        """Makes the stage durable; returns what is said of it."""
        config = self.config
        meta = {"step": step, "mode": config.mode, "m": config.momentum, "trigger": reason, "seed": config.seed}
        pieces = {pair.name: pair.piece(config.momentum) for pair in self.pairs}
        if is_first_process():
            self.ledger.append(pieces, meta)
        wait_for_all()
        self.unloads.append(step)
        self.triggers.unloaded()
        return meta

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
        self.triggers.restore(attributes)
        self.must_see_gradients = True

    def _forget_later_stages(self) -> None:
        """Goes back to the stages that the checkpoint knows, and folds them into the model."""
        count = len(self.unloads)
        if is_first_process():
            self.ledger.verify()
            self.ledger.truncate(count)
            _cut_lines(self.folder / "stages.jsonl", count)
        wait_for_all()
        if len(self.ledger) < count:
            raise ConfigError(
                f"the checkpoint knows {count} stages, {self.ledger.folder} holds {len(self.ledger)}; bring back its files"
            )
        for pair in self.pairs if count else ():
            self.storage.update(pair, num_new=count)

    def _set_rate(self, state: Any, *, optimizer: Any = None, lr_scheduler: Any = None, **_: Any) -> None:
        """Writes the next step's rate: Trainer has moved its schedule on already when it calls us."""
        if self.config.rate == "continue" or optimizer is None or lr_scheduler is None:
            return
        step = state.global_step + 1
        end = self.triggers.end_of_stage(step, state.max_steps)
        factor = rate_multiplier(self.config.rate, step, self.unloads, warmup=self.config.rewarm_steps, end=end)
        for group, rate in zip(inner_optimizer(optimizer).param_groups, lr_scheduler.get_last_lr(), strict=True):
            group["lr"] = rate * factor


def _has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(gathered(parameter.grad).any())


def _cut_lines(path: Path, count: int) -> None:
    rows: Sequence[Any] = jsonl.recover(path)[:count] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def digest(model: nn.Module) -> str:
    """One checksum over all live pairs and compute weights, for tests of equal bytes."""
    total = hashlib.sha256()
    for pair in find_pairs(unwrapped(model)):
        for tensor in (pair.a, pair.b, pair.weight()):
            total.update(gathered(tensor.detach()).cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
