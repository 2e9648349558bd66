"""What training leaves: an ordinary PEFT adapter with the sentinel's row, and `sentinel.json`, which says how to read it.

`PeftModel.from_pretrained` loads the folder without Tenfold, as a plain language model. A method that writes the adapter
by itself may leave out the trained rows; they are added here.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from tenfold.core.config import Config, parse
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.store import atomic
from tenfold.systems.sentinel.settings import SentinelConfig
from tenfold.train.tuning import Tuned

RECORD = "sentinel.json"
WEIGHTS = "adapter_model.safetensors"
DELTA = "trainable_tokens_delta"


class Record(Config):
    """The content of `sentinel.json`."""

    config: SentinelConfig
    """How texts are cut and read."""
    ids: tuple[int, ...]
    """The sentinel, and that of paragraphs."""
    base: str
    """The model that the adapter belongs to, by name."""
    base_sha256: str
    """Of its weights, the sentinels' rows left out."""
    trained: tuple[str, ...] = ("all", "window")
    """Under which visibilities it was trained."""
    windows: tuple[int, ...] = ()
    """Windows it was trained under."""


def save(tuned: Tuned, folder: Path, record: Record, base: str) -> None:
    """Writes adapter and record; `base` is what PEFT will name as the adapter's model."""
    tuned.save_adapter(folder, base)
    add_rows(folder, trained_rows(tuned.model), record.ids)
    atomic.write_json(folder / RECORD, record.model_dump(mode="json"))


def read(folder: Path) -> Record:
    """The record beside an adapter.

    Raises:
        MissingArtifactError: there is none.
    """
    path = folder / RECORD
    if not path.is_file():
        raise MissingArtifactError(f"no {RECORD} in {str(folder)!r}; give the adapter folder of a run of `sentinel train`")
    return parse(Record, json.loads(path.read_text(encoding="utf-8")), where=str(path))


def check_base(record: Record, found_sha256: str, name: str) -> None:
    """Raises ConfigError if the base is not the one that the adapter was trained on."""
    if record.base_sha256 != found_sha256:
        raise ConfigError(
            f"the adapter belongs to {record.base} with weights {record.base_sha256[:12]}, "
            f"but {name} has {found_sha256[:12]}; give the base that it was trained on"
        )


def trained_rows(model: PeftModel) -> Tensor | None:
    """[S, D] the sentinels' trained embeddings, or None where none were trained."""
    rows = [parameter for name, parameter in model.named_parameters() if DELTA in name]
    return rows[0].detach().float().cpu() if rows else None


def add_rows(folder: Path, rows_SD: Tensor | None, ids: Sequence[int]) -> None:
    """Puts the trained rows into an adapter that lacks them, and into its configuration."""
    tensors: dict[str, Any] = load_file(folder / WEIGHTS)
    if rows_SD is None or any(DELTA in name for name in tensors):
        return
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"trainable_token_indices": list(ids)}
    tensors[f"base_model.model.model.embed_tokens.token_adapter.{DELTA}"] = rows_SD.contiguous()
    atomic.write_file(folder / WEIGHTS, lambda scratch: save_file(tensors, scratch, metadata={"format": "pt"}))
    atomic.write_json(path, config)


def write_rows(model: torch.nn.Module, rows_SD: Tensor | None, ids: Sequence[int]) -> None:
    """Puts trained rows into a plain model's embedding, in place; for methods whose merging leaves them out."""
    if rows_SD is None:
        return
    weight: Tensor = model.get_input_embeddings().weight  # pyright: ignore
    with torch.no_grad():
        weight[list(ids)] = rows_SD.to(weight.dtype)
