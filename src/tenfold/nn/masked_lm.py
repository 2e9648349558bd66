"""The seam for methods that decide themselves who sees whom: positions, masks and evictions are the caller's.

`LeanLlama` fulfils it for models of the Llama architecture; `TransformersRows` for any Transformers model whose layers all
attend. Keys keep the position with which they were computed, wherever they come to lie.
"""

# B rows, K new tokens a row, S slots, N wanted tokens, V vocabulary
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from tenfold.nn.masks import HIDDEN


class MaskedLM(Protocol):
    """A decoder whose rows hold cached tokens in slots 0, 1, ..., whatever their positions."""

    vocab_size: int
    max_positions: int
    batch_size: int

    @property
    def lengths(self) -> Sequence[int]:
        """Number of cached tokens per row."""
        ...

    def reset(self) -> None:
        """Forgets all cached tokens."""
        ...

    def forward_masked(
        self, ids_BK: Tensor, counts: Sequence[int], positions_BK: Tensor, visible_BKS: Tensor, wanted_BK: Tensor
    ) -> Tensor:
        """Appends the first `counts[b]` of K tokens to row b; returns the wanted ones' logits [N, V] float32, row by row.

        Args:
            visible_BKS: bool; S is the longest row's length + K. Slot s of row b is a cached token, or new token
                s - lengths[b]. Every token, padding too, sees at least one slot.
            wanted_BK: bool, whose logits are asked for.
        """
        ...

    def rollback(self, counts: Sequence[int]) -> None:
        """Drops the last `counts[b]` cached tokens of each row."""
        ...

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        """In `row`, keeps of the slots from `start` on only those given (ascending), moved together."""
        ...


class TransformersRows:
    """Any Transformers causal LM with a dense cache, for several rows.

    All rows share the columns of one cache; `columns[b]` says which of them hold row b's slots. Columns that no row uses
    any more are gathered away before the next pass.
    """

    def __init__(self, model: Any, *, batch_size: int = 1) -> None:
        self.model = model.eval()
        config = model.config.get_text_config()
        self.vocab_size: int = config.vocab_size
        self.max_positions: int = getattr(config, "max_position_embeddings", None) or 2**31
        self.batch_size = batch_size
        self.watches = False
        """Whether to sum up the attention that each slot receives; needs eager attention."""
        self.reset()

    @property
    def lengths(self) -> Sequence[int]:
        return [len(columns) for columns in self.columns]

    def reset(self) -> None:
        self.cache: Any = DynamicCache(config=self.model.config)
        self.columns: list[list[int]] = [[] for _ in range(self.batch_size)]
        self.has_gaps = False
        self.attention: list[Tensor] = []
        """Per row, with `watches`: attention [S] that each slot got in the last pass, over layers, heads and queries."""

    @torch.inference_mode()
    def forward_masked(
        self, ids_BK: Tensor, counts: Sequence[int], positions_BK: Tensor, visible_BKS: Tensor, wanted_BK: Tensor
    ) -> Tensor:
        if self.has_gaps:
            self._gather()
        num_new, past = ids_BK.shape[1], self.cache.get_seq_length()
        device = self.model.device
        columns = [[*held, *range(past, past + num_new)] for held in self.columns]
        seen_BKC = torch.zeros(self.batch_size, num_new, past + num_new, dtype=torch.bool)
        for row, places in enumerate(columns):
            seen_BKC[row][:, places] = visible_BKS[row, :, : len(places)].cpu()
        output = self.model(
            input_ids=ids_BK.to(device),
            position_ids=positions_BK.to(device),
            attention_mask=self._mask(seen_BKC[:, None]).to(device),
            past_key_values=self.cache,
            use_cache=True,
            **({"output_attentions": True} if self.watches else {}),
        )
        self.columns = [places[: len(places) - num_new + count] for places, count in zip(columns, counts, strict=True)]
        self.has_gaps = any(count < num_new for count in counts)
        if self.watches:
            self._sum_attention(output.attentions, counts)
        return output.logits[wanted_BK.to(device)].float()

    def rollback(self, counts: Sequence[int]) -> None:
        for count, length in zip(counts, self.lengths, strict=True):
            if not 0 <= count <= length:
                raise ValueError(f"cannot roll back {count} tokens of {length}; give a number from 0 to {length}")
        self.columns = [held[: len(held) - count] for held, count in zip(self.columns, counts, strict=True)]
        self.has_gaps = self.has_gaps or any(counts)

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        held = self.columns[row]
        self.columns[row] = held[:start] + [held[slot] for slot in slots]
        self.has_gaps = True

    @property
    def num_columns(self) -> int:
        """Columns that the cache holds in memory, for every row."""
        if self.has_gaps:
            self._gather()
        return self.cache.get_seq_length()

    def _mask(self, seen_B1KC: Tensor) -> Tensor:
        if self.model.config._attn_implementation == "sdpa":
            return seen_B1KC
        return torch.zeros(seen_B1KC.shape, dtype=self.model.dtype).masked_fill_(~seen_B1KC, HIDDEN)

    def _gather(self) -> None:
        """Moves every row's columns together; shorter rows end in copies that nothing refers to."""
        width = max(map(len, self.columns))
        filled = [held + held[-1:] * (width - len(held)) or [0] * width for held in self.columns]
        index_BC = torch.tensor(filled, dtype=torch.long, device=self.model.device)
        for layer in self.cache.layers:
            if layer.keys is not None and layer.keys.numel():
                index = index_BC[:, None, :, None].expand(-1, layer.keys.shape[1], -1, layer.keys.shape[3])
                layer.keys, layer.values = layer.keys.gather(2, index), layer.values.gather(2, index)
        self.columns = [list(range(len(held))) for held in self.columns]
        self.has_gaps = False

    def _sum_attention(self, attentions: Sequence[Tensor], counts: Sequence[int]) -> None:
        total_BKC = torch.stack([layer.sum(1) for layer in attentions]).sum(0).float().cpu()
        self.attention = [
            total_BKC[row, : counts[row]].sum(0)[held] if held else total_BKC.new_empty(0)
            for row, held in enumerate(self.columns)
        ]
