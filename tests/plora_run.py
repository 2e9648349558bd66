"""Drives the callback as Trainer does, over a small stack of linear layers, so that every number can be followed."""

from types import SimpleNamespace

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tenfold.systems.plora.pairs import find_pairs
from tenfold.systems.plora.unload import PeriodicUnload, UnloadConfig


def adapted(layers: nn.Module, rank: int, alpha: float, seed: int = 0) -> nn.Module:
    names = [name for name, module in layers.named_modules() if isinstance(module, nn.Linear)]
    torch.manual_seed(seed)
    return get_peft_model(layers, LoraConfig(r=rank, lora_alpha=alpha, target_modules=names))  # pyright: ignore


class Run:
    """A training run of `total` steps: `step(loss)` does what Trainer does between two steps."""

    def __init__(
        self,
        model: nn.Module,
        config: UnloadConfig,
        folder,
        *,
        total: int,
        optimizer=None,
        scheduler=None,
        stages=0,
        **extra,
    ):
        self.model = model
        self.pairs = find_pairs(model)
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = optimizer(parameters) if optimizer else torch.optim.SGD(parameters, lr=0.1)
        self.scheduler = (
            scheduler(self.optimizer) if scheduler else torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda _: 1.0)
        )
        self.state = SimpleNamespace(global_step=0, max_steps=total, stateful_callbacks={})
        self.args = SimpleNamespace(gradient_accumulation_steps=1)
        self.callback = PeriodicUnload(config, folder, **extra)
        self.parts = {"model": model, "optimizer": SimpleNamespace(optimizer=self.optimizer), "lr_scheduler": self.scheduler}
        self.callback.on_train_begin(self.args, self.state, None, **self.parts)

    def step(self, loss) -> float:
        self.optimizer.zero_grad()
        value = loss(self.model)
        value.backward()
        self.callback.on_pre_optimizer_step(self.args, self.state, None, **self.parts)
        self.optimizer.step()
        self.scheduler.step()
        self.state.global_step += 1
        self.callback.on_step_end(self.args, self.state, None, **self.parts)
        return value.item()
