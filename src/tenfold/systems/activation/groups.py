"""Whole groups of weights at zero: a row, a head, a matrix; beside what one gradient and what a path of gradients foretell.

A group is large, so its first-order estimate, the signed sum of w * dD/dw, may be far off. Integrated along the straight
path from 0 to w it is exact but for the quadrature: D(w) - D(0) is the integral over alpha in [0, 1] of
sum w * dD/dw(alpha w).
"""

# O outputs, I inputs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from tenfold.nn.named_linears import NamedLinear, named_linears
from tenfold.systems.activation.collect import run_target
from tenfold.systems.activation.targets import Target

NODES = 8
"""Points of the Gauss-Legendre rule."""


@dataclass(frozen=True)
class Group:
    """Some rows and columns of one matrix."""

    scope: str
    linear: NamedLinear
    rows: slice
    columns: slice


def groups_of_layer(model: PreTrainedModel, layer: int) -> list[Group]:
    """One row and the whole of one matrix, another matrix in each layer, and the first head where the layer has heads."""
    linears = [linear for linear in named_linears(model) if linear.layer == layer]
    chosen, everything = linears[layer % len(linears)], slice(None)
    groups = [
        Group("row", chosen, slice(layer % chosen.weight_OI.shape[0], layer % chosen.weight_OI.shape[0] + 1), everything),
        Group("matrix", chosen, everything, everything),
    ]
    heads = getattr(model.config.get_text_config(), "num_attention_heads", 0)
    output = next((linear for linear in linears if linear.kind.endswith(("o_proj", "attn.c_proj"))), None)
    if heads and output is not None:
        width = output.weight_OI.shape[1] // heads
        groups.append(Group("head", output, everything, slice(0, width)))
    return groups


def group_changes(model: PreTrainedModel, ids: Sequence[int], target: Target, layer: int) -> list[dict[str, Any]]:
    """For each group of a layer: scope, name, |D - D without it| exactly, by one gradient, by the path integral."""
    found = []
    for group in groups_of_layer(model, layer):
        whole, without = _value(model, ids, target, group, 1.0), _value(model, ids, target, group, 0.0)
        points, weights = np.polynomial.legendre.leggauss(NODES)
        path = [_slope(model, ids, target, group, (point + 1) / 2) for point in points]
        found.append(
            {
                "scope": group.scope,
                "name": group.linear.name,
                "exact": abs(whole - without),
                "estimate": abs(_slope(model, ids, target, group, 1.0)),
                "integrated": abs(float(np.dot(path, weights)) / 2),
            }
        )
    return found


class _Scaled:
    """Inside, the weights of a group are multiplied by alpha; afterwards they are the very same numbers."""

    def __init__(self, group: Group, alpha: float) -> None:
        self.part = group.linear.weight_OI[group.rows, group.columns]
        self.kept, self.alpha = self.part.clone(), alpha

    def __enter__(self) -> torch.Tensor:
        self.part.mul_(self.alpha)
        return self.kept

    def __exit__(self, *_: object) -> None:
        self.part.copy_(self.kept)


@torch.no_grad()
def _value(model: PreTrainedModel, ids: Sequence[int], target: Target, group: Group, alpha: float) -> float:
    with _Scaled(group, alpha):
        return float(run_target(model, [ids], target))


def _slope(model: PreTrainedModel, ids: Sequence[int], target: Target, group: Group, alpha: float) -> float:
    """sum over the group of w * dD/dw, the derivative taken at alpha * w."""
    parameter = group.linear.parameter
    before = parameter.requires_grad
    with torch.no_grad(), _Scaled(group, alpha) as weights:
        with torch.enable_grad():
            parameter.requires_grad_(True)
            (gradient,) = torch.autograd.grad(run_target(model, [ids], target).sum(), parameter)
        parameter.requires_grad_(before)
        return float((group.linear.oriented(gradient)[group.rows, group.columns] * weights).sum())
