"""How true is the estimate? Zero one weight, run forward, compare: for a sample over layers, matrices and deciles.

Zeroing w_oi takes w_oi * u_i from output o at every position, so many single-weight ablations of one layer run as one batch,
each in its own row, on the stored states of the layers below. Run it in float64: a change of 1e-5 in a logit near 20
is a few units of float32's last place.
"""

# N ablations, T tokens, O outputs, I inputs
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tenfold.core.errors import UserError
from tenfold.nn.named_linears import NamedLinear, decoder_layers, named_linears
from tenfold.systems.activation.collect import collect, run_target
from tenfold.systems.activation.targets import Target

POOL = 4096
"""Weights of a matrix among which the deciles are formed."""


@dataclass(frozen=True)
class Pick:
    """One weight with its estimated change of D."""

    linear: NamedLinear
    row: int
    column: int
    estimate: float

    @property
    def weight(self) -> float:
        return float(self.linear.weight_OI[self.row, self.column])


class DecileSample:
    """A reducer that picks equally many weights from each matrix, taking turns through the deciles of its estimates."""

    def __init__(self, per_matrix: int, *, seed: int = 0) -> None:
        self.per_matrix = per_matrix
        self.generator = torch.Generator().manual_seed(seed)
        self.picks: list[Pick] = []
        self.turn = 0

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None:
        flat = a_OI.flatten()
        pool = torch.randperm(len(flat), generator=self.generator)[:POOL]
        ranked = pool[flat[pool].argsort()]
        for _ in range(self.per_matrix):
            low, high = (len(ranked) * (self.turn % 10 + step) // 10 for step in (0, 1))
            place = int(torch.randint(low, max(high, low + 1), (), generator=self.generator))
            row, column = divmod(int(ranked[place]), a_OI.shape[1])
            self.picks.append(Pick(linear, row, column, float(flat[ranked[place]])))
            self.turn += 1


def sample(model: PreTrainedModel, ids: Sequence[int], target: Target, count: int, *, seed: int = 0) -> list[Pick]:
    """At least `count` weights of a model in float64, spread evenly over matrices and deciles.

    Raises:
        UserError: the model has experts, whose ablations are not run as batches.
    """
    linears = named_linears(model)
    if any(linear.expert is not None for linear in linears):
        raise UserError("the audit covers dense models; this one has experts")
    reducer = DecileSample(-(-count // len(linears)), seed=seed)
    collect(model, [ids], target, [reducer])
    return reducer.picks


@torch.no_grad()
def exact_changes(
    model: PreTrainedModel, ids: Sequence[int], target: Target, picks: Sequence[Pick], *, batch_size: int = 32
) -> list[float]:
    """|D - D with the weight at 0| for each pick; all picks are of one layer."""
    (layer,) = {pick.linear.layer for pick in picks}
    whole, below = _states(model, ids, target, layer)
    changes: list[float] = []
    with _resumed(model, layer, below):
        for start in range(0, len(picks), batch_size):
            batch = picks[start : start + batch_size]
            with _zeroed(batch):
                changes += (run_target(model, [ids] * len(batch), target) - whole).abs().tolist()
    return changes


def _states(model: PreTrainedModel, ids: Sequence[int], target: Target, layer: int) -> tuple[float, Tensor | None]:
    """D, and what the layer below this one puts out (None where there is none, or it is no plain tensor)."""
    found: list[Any] = [None]
    with ExitStack() as stack:
        if layer > 0:
            module = decoder_layers(model)[layer - 1]
            stack.callback(module.register_forward_hook(lambda _m, _i, output: found.append(output)).remove)
        whole = float(run_target(model, [ids], target))
    return whole, found[-1] if isinstance(found[-1], Tensor) else None


@contextmanager
def _resumed(model: PreTrainedModel, layer: int, below: Tensor | None) -> Iterator[None]:
    """Inside, the layers below are not computed: they hand on the stored state, once for each row of the batch."""
    layers = decoder_layers(model)[:layer] if below is not None else []

    def stored(hidden: Tensor, *_args: Any, **_keywords: Any) -> Tensor:
        assert below is not None
        return below.expand(len(hidden), -1, -1)

    try:
        for module in layers:
            module.forward = stored
        yield
    finally:
        for module in layers:
            del module.forward


@contextmanager
def _zeroed(batch: Sequence[Pick]) -> Iterator[None]:
    """Inside, row n of a batch runs with the weight of pick n at 0."""

    def subtract(row: int, pick: Pick) -> Any:
        def hook(_module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            output[row, :, pick.row] -= pick.weight * inputs[0][row, :, pick.column]

        return hook

    with ExitStack() as stack:
        for row, pick in enumerate(batch):
            stack.callback(pick.linear.module.register_forward_hook(subtract(row, pick)).remove)
        yield
