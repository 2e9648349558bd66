"""The frozen base weights, one matrix at a time: from the model's own safetensors files, else from copies in memory.

A fold needs W0 itself, not what is left of it under earlier folds. A file costs no memory; a copy is kept only of a
matrix that no file holds, or holds with other numbers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from tenfold.systems.plora.pairs import LoraPair, parts_of_name


class BaseWeights:
    """W0 of every pair, by name, as (d_out, d_in) in the model's own type."""

    def __init__(self, pairs: Sequence[LoraPair], folder: str | None) -> None:
        self.files = _files(folder)
        self.transposed = {pair.name for pair in pairs if pair.is_transposed}
        self.types = {pair.name: pair.weight().dtype for pair in pairs if pair.is_writable}
        self.copies = {
            pair.name: pair.weight().detach().cpu().clone() for pair in pairs if pair.is_writable and not self._agrees(pair)
        }

    def read(self, name: str) -> Tensor:
        """W0 of one matrix, on the CPU."""
        return self.copies[name] if name in self.copies else self._from_file(name)

    def checksums(self, pairs: Sequence[LoraPair]) -> dict[str, str]:
        """sha256 of the bytes of each frozen weight as it stands in the model now."""
        return {pair.name: _digest(pair.stored()) for pair in pairs}

    def _agrees(self, pair: LoraPair) -> bool:
        return _key(pair.name) in self.files and torch.equal(self._from_file(pair.name), pair.weight().cpu())

    def _from_file(self, name: str) -> Tensor:
        key, parts = _key(name), parts_of_name(name)
        with safe_open(self.files[key], framework="pt") as file:
            weight = file.get_tensor(key) if parts is None else file.get_slice(key)[parts[2]]
        weight = weight.to(self.types[name])
        return weight.T if name in self.transposed else weight


def _key(name: str) -> str:
    """Under which name a file holds the matrix, or the tensor of all experts."""
    parts = parts_of_name(name)
    return f"{name}.weight" if parts is None else f"{parts[0]}.{parts[1]}"


def _files(folder: str | None) -> Mapping[str, Path]:
    """Which file holds which tensor."""
    files: dict[str, Path] = {}
    for path in sorted(Path(folder).glob("*.safetensors")) if folder and Path(folder).is_dir() else ():
        with safe_open(path, framework="pt") as file:
            files |= dict.fromkeys(file.keys(), path)
    return files


def _digest(weight: Tensor) -> str:
    return hashlib.sha256(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data).hexdigest()
