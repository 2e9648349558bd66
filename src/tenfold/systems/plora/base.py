"""The frozen base weights, one matrix at a time: from the model's own safetensors files, else from copies in memory.

A fold needs W0 itself, not what is left of it under earlier folds. A file costs no memory; a copy is kept only of a
matrix that no file holds, or holds with other numbers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tenfold.systems.plora.pairs import LoraPair
from tenfold.systems.plora.shards import gathered


class BaseWeights:
    """W0 of every pair, by name, as (d_out, d_in) in the model's own type."""

    def __init__(self, pairs: Sequence[LoraPair], folder: str | None) -> None:
        self.files = _files(folder)
        self.transposed = {pair.name for pair in pairs if isinstance(pair.base, Conv1D)}
        self.types = {pair.name: pair.weight().dtype for pair in pairs if pair.is_writable}
        self.copies = {
            pair.name: pair.weight().detach().cpu().clone() for pair in pairs if pair.is_writable and not self._agrees(pair)
        }

    def read(self, name: str) -> Tensor:
        """W0 of one matrix, on the CPU."""
        return self.copies[name] if name in self.copies else self._from_file(name)

    def checksums(self, pairs: Sequence[LoraPair]) -> dict[str, str]:
        """sha256 of the bytes of each frozen weight as it stands in the model now."""
        return {pair.name: _digest(pair.base) for pair in pairs}

    def _agrees(self, pair: LoraPair) -> bool:
        return f"{pair.name}.weight" in self.files and torch.equal(self._from_file(pair.name), pair.weight().cpu())

    def _from_file(self, name: str) -> Tensor:
        with safe_open(self.files[f"{name}.weight"], framework="pt") as file:
            weight = file.get_tensor(f"{name}.weight").to(self.types[name])
        return weight.T if name in self.transposed else weight


def _files(folder: str | None) -> Mapping[str, Path]:
    """Which file holds which tensor."""
    files: dict[str, Path] = {}
    for path in sorted(Path(folder).glob("*.safetensors")) if folder and Path(folder).is_dir() else ():
        with safe_open(path, framework="pt") as file:
            files |= dict.fromkeys(file.keys(), path)
    return files


def _digest(layer: nn.Module) -> str:
    weight: Tensor = layer.weight.data  # pyright: ignore
    return hashlib.sha256(gathered(weight.detach()).cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
