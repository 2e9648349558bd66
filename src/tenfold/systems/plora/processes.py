"""One process among several: who writes, who waits, and what lies within the wrappers of Accelerate and torch."""

from typing import Any

import torch
from torch import distributed, nn


def is_first_process() -> bool:
    """Whether this process writes; there is one such."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Returns once every process is here."""
    if distributed.is_initialized():
        distributed.barrier()


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within a distributed wrapper. FSDP2 wraps nothing: it makes the parameters DTensors."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def inner_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer within Accelerate's wrapper, which keeps no state of its own."""
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer
