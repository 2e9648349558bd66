"""A finished run of `train`, opened again: its settings, its ledger, its live pair, and its base model on demand.

A stage's number counts from 1; the last one is the live pair, which was never unloaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedTokenizerBase

from tenfold.core import jsonl
from tenfold.core.config import parse, read_toml
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.store import runs
from tenfold.store.runs import Run
from tenfold.systems.plora.base import BaseWeights
from tenfold.systems.plora.deltas import DeltaLedger, Piece, parse_stages
from tenfold.systems.plora.material import own_text
from tenfold.systems.plora.methods import load_base, load_tokenizer
from tenfold.systems.plora.pairs import LoraPair, find_pairs
from tenfold.systems.plora.training import LIVE, TrainConfig
from tenfold.train.adapters import add_lora
from tenfold.train.corpora import text_blocks

KIND = "plora-train"


@dataclass(frozen=True)
class OpenedRun:
    """What a finished run left behind."""

    folder: Path
    config: TrainConfig

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def ledger(self) -> DeltaLedger:
        return DeltaLedger(self.folder / "ledger")

    @cached_property
    def live(self) -> dict[str, Piece]:
        """The live pair as pieces; empty where the run went back to an earlier stage."""
        path = self.folder / LIVE
        tensors = load_file(path) if path.exists() else {}
        matrices = [key.removesuffix(".A") for key in tensors if key.endswith(".A")]
        return {name: (tensors[f"{name}.A"], tensors[f"{name}.B"]) for name in matrices}

    @property
    def num_stages(self) -> int:
        """T: those of the ledger, and the live pair."""
        return len(self.ledger) + bool(self.live)

    @property
    def telemetry(self) -> list[dict[str, Any]]:
        """What was measured at each unload."""
        return jsonl.read_whole(self.folder / "stages.jsonl")

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.config.model)

    def chosen(self, numbers: frozenset[int]) -> tuple[DeltaLedger, dict[str, Piece]]:
        """The ledger without all other stages, and the live pair if it is among the chosen."""
        others = frozenset(range(1, self.num_stages + 1)) - numbers
        has_live = self.num_stages in numbers and bool(self.live)
        return DeltaLedger(self.folder / "ledger", dropped=others), self.live if has_live else {}

    def stages(self, text: str | None) -> frozenset[int]:
        """Stage numbers from `1,3`; all for None."""
        return frozenset(range(1, self.num_stages + 1)) if text is None else parse_stages(text, self.num_stages)

    def load(self) -> "OpenedModel":
        """The base with fresh, idle adapters; checked to be the very base that the ledger belongs to.

        Raises:
            LedgerError: the base has other weights now.
        """
        model = add_lora(load_base(self.config.model, self.config.dtype), self.config.lora, seed=0).eval()
        pairs = find_pairs(model)
        base = BaseWeights(pairs, str(getattr(model.config, "_name_or_path", "") or ""))
        self.ledger.bind(self.config.model, self.config.dtype, base.checksums(pairs))
        return OpenedModel(model, pairs, base)


@dataclass(frozen=True)
class OpenedModel:
    """A base under idle adapters (B = 0), whose frozen weights can be set to any sum of stages."""

    model: nn.Module
    pairs: list[LoraPair]
    base: BaseWeights

    def fold(self, ledger: DeltaLedger, live: Mapping[str, Piece]) -> None:
        """Writes `round(W0 + S)`, with the live pieces in S."""
        for pair in self.pairs:
            extra = [live[pair.name]] if pair.name in live else []
            pair.write(ledger.fold(pair.name, self.base.read(pair.name), extra=extra))


def open_run(name: str, run: Run) -> OpenedRun:
    """The finished training run that `name` means, beside the run that asks.

    Raises:
        MissingArtifactError: no such run, or it left no ledger.
        ConfigError: a run of another verb, or one that has not finished.
    """
    folder = runs.find(run.folder.parent.parent, name)
    if folder.resolve().parent.name != KIND and not (folder / "ledger").is_dir():
        raise ConfigError(f"{name!r} is a run of {folder.resolve().parent.name}; give one of plora train")
    if not (folder / "ledger" / "base.json").exists():
        raise MissingArtifactError(f"{folder} has no ledger; the run ended before its first step, so start it again")
    return OpenedRun(folder, parse(TrainConfig, read_toml(folder / "config.toml"), where=str(folder / "config.toml")))


def open_finished(name: str, run: Run) -> OpenedRun:
    """`open_run`, refusing a run without anything to export.

    Raises:
        ConfigError: the run is still at work, or was cut off.
    """
    opened = open_run(name, run)
    if not opened.num_stages:
        raise ConfigError(f"{opened.name} has neither stages nor a live pair yet; finish it with `plora train --resume`")
    return opened


def probe_ids(opened: OpenedRun, *, count: int = 2, length: int = 48) -> torch.Tensor:
    """Token ids (count, length) of fixed text, on which two forms of a model are compared."""
    blocks = text_blocks(own_text(), opened.tokenizer, length=length, count=count)
    return torch.tensor([block.ids for block in blocks])


def logits(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """In fp32, without gradients."""
    with torch.no_grad():
        return model(input_ids=ids).logits.float()
