"""The tensors of a folder of safetensors files, each read when it is asked for.

Nothing is kept: while a model's weights are packed one after the other, memory holds one tensor besides the packed ones,
and not the whole file as well.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor


class Shards(Mapping[str, Tensor]):
    """A state dict on disk; `dtype` is what its tensors are converted to, None leaves them as they are stored."""

    def __init__(self, folder: Path, dtype: torch.dtype | None = None) -> None:
        """Reads the names of all tensors.

        Raises:
            SafetensorError: a file is damaged.
        """
        self.dtype = dtype
        self.shard_of: dict[str, Path] = {}
        for shard in sorted(folder.glob("*.safetensors")):
            with safe_open(shard, framework="pt") as opened:
                self.shard_of |= dict.fromkeys(opened.keys(), shard)

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self.shard_of[name], framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
        return tensor if self.dtype is None else tensor.to(self.dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shard_of)

    def __len__(self) -> int:
        return len(self.shard_of)

    def __contains__(self, name: object) -> bool:
        return name in self.shard_of
