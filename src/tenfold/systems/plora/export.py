"""What leaves a run: an ordinary PEFT adapter on the original base, a merged model, or the adapter of chosen stages.

The adapter stacks all pieces and the live pair, so its rank is the sum of theirs, with scaling 1: any program that
reads LoRA reads it. The merged model rounds once, W = round(W0 + S + s B A). The two differ by that rounding.
"""

# O outputs, I inputs, K stacked ranks
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor

from tenfold.core.errors import ConfigError
from tenfold.store import atomic
from tenfold.systems.plora.base import BaseWeights
from tenfold.systems.plora.deltas import DeltaLedger, Piece
from tenfold.systems.plora.experts import joined
from tenfold.systems.plora.pairs import LoraPair


def live_pieces(pairs: Sequence[LoraPair]) -> dict[str, Piece]:
    """The live pairs as fp32 pieces, the scale folded into B."""
    return {pair.name: pair.piece(1.0) for pair in pairs}


def total_pieces(ledger: DeltaLedger, live: Mapping[str, Piece], names: Sequence[str]) -> dict[str, Piece]:
    """Per matrix all pieces stacked, the live one last; the product B A is the whole update."""
    totals = {}
    for name in names:
        pieces = [*ledger.pieces(name), *([live[name]] if name in live else [])]
        if not pieces:
            raise ConfigError("there is nothing to export: every stage is dropped and the live pair is left out")
        totals[name] = torch.cat([a for a, _ in pieces]), torch.cat([b for _, b in pieces], dim=1)
    return totals


def compressed(piece: Piece, energy: float) -> tuple[Piece, float]:
    """The smallest rank that keeps at least `energy` of the squared singular values, and the share kept.

    Raises:
        ConfigError: energy outside (0, 1].
    """
    if not 0 < energy <= 1:
        raise ConfigError(f"energy is {energy}; give the share to keep, above 0 and at most 1")
    a_KI, b_OK = (part.double() for part in piece)
    left, core = torch.linalg.qr(b_OK)
    right, other = torch.linalg.qr(a_KI.T)
    u, values, v = torch.linalg.svd(core @ other.T)
    shares = values.square().cumsum(0) / values.square().sum().clamp(min=1e-300)
    rank = min(len(values), int((shares < energy).sum()) + 1)
    root = values[:rank].sqrt()
    return ((root[:, None] * (v[:rank] @ right.T)).float(), (left @ u[:, :rank] * root).float()), float(shares[rank - 1])


def save_adapter(pieces: Mapping[str, Piece], folder: Path, base: str) -> None:
    """Writes an ordinary PEFT adapter; each matrix has its own rank, and scaling 1.

    Args:
        pieces: by matrix, in the order of `find_pairs`; those of experts are joined to the form of PEFT's wrappers.
    """
    layers = joined(pieces)
    ranks = {layer.name: layer.rank for layer in layers}
    largest = max(ranks.values())
    other = {name: rank for name, rank in ranks.items() if rank != largest}
    config = LoraConfig(
        r=largest,
        lora_alpha=largest,
        rank_pattern=dict(other),
        alpha_pattern=dict(other),  # pyright: ignore[reportArgumentType]
        target_modules=[layer.name for layer in layers if not layer.is_parameter],
        target_parameters=[layer.name for layer in layers if layer.is_parameter] or None,
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
        inference_mode=True,
    )
    tensors = {
        f"base_model.model.{layer.module}.lora_{part}.weight": tensor.contiguous()
        for layer in layers
        for part, tensor in zip("AB", layer.piece, strict=True)
    }
    config.save_pretrained(str(folder))
    atomic.write_file(
        folder / "adapter_model.safetensors", lambda scratch: save_file(tensors, scratch, metadata={"format": "pt"})
    )


def merged_weight(ledger: DeltaLedger, base: BaseWeights, live: Mapping[str, Piece], name: str) -> Tensor:
    """`round(W0 + S + s B A)` of one matrix."""
    return ledger.fold(name, base.read(name), extra=[live[name]] if name in live else [])


def merge_into(pairs: Sequence[LoraPair], ledger: DeltaLedger, base: BaseWeights, live: Mapping[str, Piece]) -> None:
    """Writes the merged weights into the frozen layers under the adapters; the adapters themselves are left as they are."""
    for pair in pairs:
        pair.write(merged_weight(ledger, base, live, pair.name))
