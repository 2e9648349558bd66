"""Pruning a model by a plan, measuring the loss, putting the weights back: what `prune` and `choose` do over and over."""

# O outputs, I inputs, B texts
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenfold.nn.named_linears import named_linears
from tenfold.systems.activation import targets
from tenfold.systems.activation.allocate import Plan
from tenfold.systems.activation.collect import collect, run_target
from tenfold.systems.activation.masks import Masks
from tenfold.systems.activation.opened import OpenedModel
from tenfold.systems.activation.pruners import NEED_GRADIENTS, GradientMaps, Pattern, Pruner
from tenfold.systems.activation.reducers import MeanMap, SquareMap
from tenfold.systems.activation.walk import InputStatistics, walk

Texts = Sequence[Sequence[int]]
BATCH_TOKENS = 1024


@dataclass(frozen=True)
class PruneSettings:
    """Which weights of a layer go, its sparsity being given."""

    pruner: str = "wanda"
    pattern: str = "unstructured"
    alpha: float = 100.0


def make_pruner(opened: OpenedModel, texts: Texts, settings: PruneSettings) -> Pruner:
    """A pruner; those by gradients collect their maps from the dense model first."""
    gradients = gradient_maps(opened, texts) if settings.pruner in NEED_GRADIENTS else None
    return Pruner(settings.pruner, Pattern.parse(settings.pattern), settings.alpha, gradients)


def gradient_maps(opened: OpenedModel, texts: Texts) -> GradientMaps:
    """Mean and norm of abs(W * dD/dW), D the loss of the next token."""
    mean, square = MeanMap(), SquareMap()
    collect(opened.model, texts, targets.nll, [mean, square], batch_size=max(1, 512 // len(texts[0])))
    return GradientMaps({name: mean.mean(name) for name in mean.sums}, {name: square.norm(name) for name in square.sums})


def prune(opened: OpenedModel, texts: Texts, pruner: Pruner, plan: Plan) -> Masks:
    """Zeroes weights of the model, layer by layer, each judged by what the pruned layers below hand on."""
    kept: dict[str, Tensor] = {}

    def change(statistics: InputStatistics) -> None:
        kept[statistics.linear.name] = pruner.prune(statistics, plan.layers[statistics.linear.layer])

    for _ in walk(opened.model, texts, change, with_products=pruner.needs_products):
        pass
    return Masks(kept)


@contextmanager
def restored(opened: OpenedModel) -> Iterator[None]:
    """Inside, weights may be changed at will; afterwards they are what they were."""
    linears = named_linears(opened.model)
    before = [linear.weight_OI.clone() for linear in linears]
    try:
        yield
    finally:
        for linear, weight_OI in zip(linears, before, strict=True):
            linear.weight_OI.copy_(weight_OI)


@torch.inference_mode()
def losses(opened: OpenedModel, texts: Texts) -> NDArray[np.float64]:
    """Mean loss of the next token of each text [B], in nats."""
    size = max(1, BATCH_TOKENS // max(len(ids) for ids in texts))
    batches = (texts[start : start + size] for start in range(0, len(texts), size))
    return np.concatenate([run_target(opened.model, batch, targets.nll).double().numpy() for batch in batches])


def losses_after(opened: OpenedModel, calibration: Texts, texts: Texts, pruner: Pruner, plan: Plan) -> NDArray[np.float64]:
    """`losses` of the pruned model, which is whole again afterwards."""
    with restored(opened):
        prune(opened, calibration, pruner, plan)
        return losses(opened, texts)
