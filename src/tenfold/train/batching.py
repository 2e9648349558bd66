"""Rows of a home's own kind: how they become a batch, and what the loss is. The seam beside `EncodedRow` and its loss.

Transformers' plain Trainer then takes the place of TRL's, which computes a loss of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Batching:
    """How to train on rows that are no instruction rows."""

    collate: Callable[[list[Any]], dict[str, Any]]
    """From rows to the model's keyword arguments, and `labels`, which the model does not get."""
    loss: Callable[..., Tensor]
    """Called as loss(outputs, labels, num_items_in_batch=...)."""
