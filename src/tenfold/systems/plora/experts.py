"""Updates of single matrices in the form in which PEFT keeps them: one layer each, but one for all experts of a tensor.

PEFT wraps a tensor (E, ., .) of experts in a layer of its own, with A (E r, d_in) expert after expert and B (d_out, r E)
rank after rank. Wrappers of several tensors of one module are nested; the last one is the outermost.
"""

# E experts, I inputs, O outputs, R rank
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from tenfold.systems.plora.deltas import Piece
from tenfold.systems.plora.pairs import parts_of_name


@dataclass(frozen=True)
class AdapterLayer:
    """What an adapter holds of one layer."""

    name: str
    """The linear layer, or the tensor of experts, in the model without adapters."""
    module: str
    """Under which name the adapter's file holds it."""
    piece: Piece
    rank: int
    """Of a single matrix."""
    is_parameter: bool = False


def joined(pieces: Mapping[str, Piece]) -> list[AdapterLayer]:
    """The layers of an adapter from the pieces of single matrices, in the order of `find_pairs` (outer wrappers first)."""
    layers, experts = [], dict[tuple[str, str], dict[int, Piece]]()
    for name, piece in pieces.items():
        parts = parts_of_name(name)
        if parts is None:
            layers.append(AdapterLayer(name, name, piece, len(piece[0])))
        else:
            experts.setdefault(parts[:2], {})[parts[2]] = piece
    depth: Counter[str] = Counter()
    for (module, parameter), by_expert in experts.items():
        nested = module + ".base_layer" * depth[module]
        depth[module] += 1
        rank = max(len(a) for a, _ in by_expert.values())
        layers.append(AdapterLayer(f"{module}.{parameter}", nested, _stacked(by_expert, rank), rank, is_parameter=True))
    return layers


def _stacked(by_expert: Mapping[int, Piece], rank: int) -> Piece:
    """All experts' pieces as one; those of a lower rank are filled up with zeros."""
    ordered = [by_expert[expert] for expert in range(len(by_expert))]
    a_ERI: Tensor = torch.stack([pad(a, (0, 0, 0, rank - len(a))) for a, _ in ordered])
    b_ORE: Tensor = torch.stack([pad(b, (0, rank - b.shape[1])) for _, b in ordered], dim=-1)
    return a_ERI.flatten(0, 1), b_ORE.flatten(1, 2)
