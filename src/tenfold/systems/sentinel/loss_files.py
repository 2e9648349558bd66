"""Losses of single tokens, one small file for each result row, under `losses/` of a run."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tenfold.systems.sentinel.data import Window


def key_of(name: str, fraction: float, window: Window) -> str:
    """The key of a result row."""
    return f"{name}/{fraction:g}/{window.document}/{window.number}"


def _file(folder: Path, key: str) -> Path:
    return folder / "losses" / f"{key.replace('/', '-').replace(', ', '-')}.npy"


def save(folder: Path, key: str, losses: Tensor) -> None:
    """Writes the losses of one row."""
    path = _file(folder, key)
    path.parent.mkdir(exist_ok=True)
    np.save(path, losses.numpy().astype(np.float32))


def load(folder: Path, key: str) -> Any:
    """The losses of one row, as float64."""
    return np.load(_file(folder, key)).astype(np.float64)
