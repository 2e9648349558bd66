"""PeriodicLoRA as a training method that any home can name (`train.methods`): `method = "plora"`.

Its settings are those of `UnloadConfig`. What it leaves is the whole update: the ledger's stages and the live pair.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from tenfold.core.config import parse
from tenfold.systems.plora.deltas import Piece
from tenfold.systems.plora.export import live_pieces, merge_into, save_adapter, total_pieces
from tenfold.systems.plora.pairs import names
from tenfold.systems.plora.settings import UnloadConfig
from tenfold.systems.plora.unload import PeriodicUnload


class PeriodicMethod:
    """Unloads while training; `unload` is the callback, with its ledger in `folder`."""

    def __init__(
        self, settings: Mapping[str, Any], folder: Path, *, probe: Callable[[nn.Module], float] | None = None
    ) -> None:
        self.unload = PeriodicUnload(parse(UnloadConfig, settings, where="settings of plora"), folder, probe=probe)
        self.callbacks = (self.unload,)

    def live(self) -> dict[str, Piece]:
        """What has not been unloaded."""
        return live_pieces(self.unload.pairs)

    def pieces(self) -> dict[str, Piece]:
        """The whole update of every matrix, stacked; the live pair last."""
        return total_pieces(self.unload.ledger, self.live(), names(self.unload.pairs))

    def save_adapter(self, model: PeftModel, folder: Path, base: str) -> None:
        """An ordinary adapter of the summed rank, on the original base."""
        save_adapter(self.pieces(), folder, base)

    def merge(self, model: PeftModel) -> PreTrainedModel:
        """The plain model, each weight rounded once from the base and the whole update."""
        merge_into(self.unload.pairs, self.unload.ledger, self.unload.base, self.live())
        plain = model.unload()
        assert isinstance(plain, PreTrainedModel), type(plain)
        return plain
