"""What an unload did, in numbers, without ever forming the product of A and B.

The singular values of B A are those of the small core of two QR factorisations, R_B R_A^T.
"""

# O outputs, I inputs, R rank, K stacked ranks
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from tenfold.systems.plora.deltas import DeltaLedger
from tenfold.systems.plora.pairs import LoraPair

Item = TypeVar("Item")

NUM_MATRICES = 14
"""How many matrices, evenly spread over the model, are measured at an unload."""


def singular_values(a_RI: Tensor, b_OR: Tensor) -> Tensor:
    """Those of B A, largest first; fp64."""
    core_RR = torch.linalg.qr(b_OR.double()).R @ torch.linalg.qr(a_RI.double().T).R.T
    return torch.linalg.svdvals(core_RR)


def numerical_rank(values: Tensor, threshold: float = 1e-3) -> int:
    """How many singular values lie above `threshold` times the largest."""
    return int((values > threshold * values[0]).sum()) if len(values) and values[0] > 0 else 0


def stable_rank(values: Tensor) -> float:
    """||.||_F^2 / ||.||_2^2: between 1 and the rank."""
    return float((values**2).sum() / values[0] ** 2) if len(values) and values[0] > 0 else 0.0


def overlap(a_RI: Tensor, past_KI: Tensor | None) -> float:
    """Share of A's energy that lies in the row space of past A's: 0 is new, 1 is nothing new."""
    if past_KI is None or len(past_KI) == 0:
        return 0.0
    basis_IK = torch.linalg.qr(past_KI.T.double()).Q
    return float((a_RI.double() @ basis_IK).square().sum() / a_RI.double().square().sum().clamp(min=1e-300))


def spread(items: Sequence[Item], count: int = NUM_MATRICES) -> list[Item]:
    """At most `count` pairs or names, evenly spread."""
    step = max(1, -(-len(items) // count))
    return list(items[::step])


def describe_unload(pairs: Sequence[LoraPair], ledger: DeltaLedger) -> dict[str, float]:
    """Means over a spread of matrices, taken after the stage was appended."""
    rows = [_describe_matrix(pair, ledger) for pair in spread(pairs)]
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _describe_matrix(pair: LoraPair, ledger: DeltaLedger) -> dict[str, float]:
    pieces = ledger.pieces(pair.name)
    piece = pieces[-1]
    values = singular_values(*piece)
    stacked = torch.cat([a for a, _ in pieces]), torch.cat([b for _, b in pieces], dim=1)
    past = stacked[0][: len(stacked[0]) - len(piece[0])]
    weight = pair.weight().float().norm() if pair.is_writable else torch.tensor(float("nan"))
    return {
        "relative_norm": float(values.norm() / weight),
        "stable_rank": stable_rank(values),
        "total_rank": float(numerical_rank(singular_values(*stacked))),
        "overlap": overlap(piece[0], past),
    }
