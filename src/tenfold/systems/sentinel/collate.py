"""Training batches: layouts with their rules come in, what the model and the loss need goes out.

Labels come shifted already: an entry's label is what it must predict. In texts with sentinels the sentinel's own logit is
-inf, so that all arms share one softmax. In plain texts it counts like any other token's, which keeps the model from
writing the sentinel where it is used without Tenfold; those labels are stored as `MARK - label`.
"""

# B rows, N entries, L labelled entries, V vocabulary
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import TrainerCallback

from tenfold.core.errors import ConfigError
from tenfold.systems.sentinel.layout import NO_LABEL, Layout
from tenfold.systems.sentinel.rules import Backend, Meta, Rule, build_mask
from tenfold.train.batching import Batching

MARK = -1000
PATIENCE = 12
"""Optimizer steps within which the sentinel's embedding must have had a gradient."""


@dataclass(frozen=True)
class Example:
    """One row of a batch."""

    layout: Layout
    rule: Rule
    kept: tuple[bool, ...] | None = None
    """Which entries stay visible, where it is not the sentinels."""


def batching(sentinels: Sequence[int], backend: Backend) -> Batching:
    """How `train.finetune` makes batches of `Example`s, and their loss."""

    def collate(examples: list[Example]) -> dict[str, Any]:
        return to_batch(examples, backend)

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        return shifted_loss(outputs.logits, labels, sentinels, num_items_in_batch)

    return Batching(collate, loss)


def to_batch(examples: Sequence[Example], backend: Backend) -> dict[str, Any]:
    """The model's keyword arguments, and `labels`."""
    width = max(len(example.layout) for example in examples)
    batch = {
        "input_ids": _padded([example.layout.ids for example in examples], width, 0),
        "position_ids": _padded([example.layout.pos for example in examples], width, 0),
        "labels": _padded([_labels(example.layout) for example in examples], width, NO_LABEL),
        "use_cache": False,
    }
    if not all(map(_is_causal, examples)) or len({len(example.layout) for example in examples}) > 1:
        masks = [build_mask(meta, meta, rule, backend) for meta, rule in (_meta(example, width) for example in examples)]
        batch["attention_mask"] = torch.cat([mask for mask in masks if isinstance(mask, Tensor)])
    return batch


def shifted_loss(
    logits_BNV: Tensor, labels_BN: Tensor, sentinels: Sequence[int], num_items: Tensor | int | None = None
) -> Tensor:
    """Mean (or sum / num_items) of the cross entropy at the labelled entries; `logits[p]` is scored against `labels[p]`."""
    chosen_BN = labels_BN != NO_LABEL
    label_L = labels_BN[chosen_BN]
    is_plain_L = label_L <= MARK
    target_L = torch.where(is_plain_L, MARK - label_L, label_L)
    logits_LV = logits_BNV[chosen_BN].float()
    logits_LV = logits_LV.masked_fill(_only(sentinels, logits_LV) & ~is_plain_L[:, None], -torch.inf)
    total = functional.cross_entropy(logits_LV, target_L, reduction="sum")
    return total / (num_items if num_items is not None else max(1, len(label_L)))


class LiveSentinel(TrainerCallback):
    """Stops a run in which the sentinel's embedding never gets a gradient: then nothing reads it."""

    def __init__(self) -> None:
        self.is_alive = False

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: nn.Module, **_: Any) -> None:
        if self.is_alive:
            return
        rows = [parameter for name, parameter in model.named_parameters() if "trainable_tokens_delta" in name]
        self.is_alive = any(row.grad is not None and bool(row.grad.any()) for row in rows)
        if not self.is_alive and state.global_step + 1 >= PATIENCE:
            raise ConfigError(
                f"the sentinel's embedding had no gradient in {PATIENCE} steps, so no later token reads it; check that the "
                "texts have more than one chunk, and that the token is trained"
            )


def _is_causal(example: Example) -> bool:
    """Whether the stock causal mask is the same."""
    return example.rule.raw == "all" and (not example.layout.num_sentinels or example.rule.scope == "causal")


def _meta(example: Example, width: int) -> tuple[Meta, Rule]:
    meta = Meta.of([example.layout], width=width)
    if example.kept is not None:
        meta = meta.with_kept(torch.tensor([[*example.kept, *[False] * (width - len(example.kept))]]))
    return meta, example.rule


def _labels(layout: Layout) -> list[int]:
    if layout.num_sentinels:
        return list(layout.labels)
    return [label if label == NO_LABEL else MARK - label for label in layout.labels]


def _padded(rows: Sequence[Sequence[int]], width: int, filler: int) -> Tensor:
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])


def _only(sentinels: Sequence[int], logits_LV: Tensor) -> Tensor:
    """bool [1, V]: true at the sentinels."""
    only_V = torch.zeros(logits_LV.shape[-1], dtype=torch.bool, device=logits_LV.device)
    only_V[list(sentinels)] = True
    return only_V[None]
