"""Keys and values of the tokens seen so far, with a length per row that can be moved back.

Rolling back moves the length only: stale slots stay in memory and are masked until they are overwritten. The
buffer grows by whole blocks, up to the model's number of positions.
"""

# L layers, B rows, H key-value heads, S slots, D head width, K new tokens
from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 256
"""Attention covers whole blocks, summed one after the other: the order of summation does not depend on the length."""


def whole_blocks(num_slots: int) -> int:
    """`num_slots` rounded up to whole blocks."""
    return -(-num_slots // BLOCK) * BLOCK


class KVCache:
    """One buffer [L, 2, B*H, S, D] for the keys (0) and values (1) of all layers."""

    def __init__(self, num_layers: int, batch_size: int, num_heads: int, head_width: int, *, device: torch.device) -> None:
        self.num_heads = num_heads
        self.batch_size = batch_size
        self.buffer = torch.zeros(num_layers, 2, batch_size * num_heads, 0, head_width, device=device)
        self.lengths = [0] * batch_size

    def reset(self) -> None:
        """Forgets all rows."""
        self.lengths = [0] * self.batch_size

    def reserve(self, num_slots: int) -> None:
        """Makes room for `num_slots` slots a row, by doubling."""
        have = self.buffer.shape[3]
        if num_slots > have:
            grown = torch.zeros(*self.buffer.shape[:3], whole_blocks(max(num_slots, 2 * have)), self.buffer.shape[4])
            grown = grown.to(self.buffer.device)
            grown[:, :, :, :have] = self.buffer
            self.buffer = grown

    def live(self, num_slots: int, rows: slice = slice(None)) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Per layer: the keys [B*H, D, S] and the values [B*H, S, D] of some rows' first `num_slots` slots, as views."""
        start, end, _ = rows.indices(self.batch_size)
        view = self.buffer[:, :, start * self.num_heads : end * self.num_heads, :num_slots]
        return view[:, 0].transpose(2, 3).unbind(0), view[:, 1].unbind(0)

    def slots_for(self, row: int, num_tokens: int) -> Sequence[Tensor]:
        """Per layer: the view [2, H, K, D] into which the row's next `num_tokens` keys and values go."""
        heads = slice(row * self.num_heads, (row + 1) * self.num_heads)
        start = self.lengths[row]
        return self.buffer[:, :, heads, start : start + num_tokens].unbind(0)

    def advance(self, rows: Sequence[int], counts: Sequence[int]) -> None:
        """Counts tokens just written as cached: `counts[a]` in row `rows[a]`."""
        self.lengths = list(self.lengths)
        for row, count in zip(rows, counts, strict=True):
            self.lengths[row] += count

    def rollback(self, counts: Sequence[int]) -> None:
        """Drops the last `counts[b]` tokens of each row."""
        for count, length in zip(counts, self.lengths, strict=True):
            if not 0 <= count <= length:
                raise ValueError(f"cannot roll back {count} tokens of {length}; give a number from 0 to {length}")
        self.lengths = [length - count for length, count in zip(self.lengths, counts, strict=True)]

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        """Moves the given slots of `row` (ascending, all >= start) together from `start` on; drops the rest."""
        heads = slice(row * self.num_heads, (row + 1) * self.num_heads)
        end = start + len(slots)
        if list(slots) != list(range(start, end)):
            chosen = torch.tensor(slots, device=self.buffer.device)
            self.buffer[:, :, heads, start:end] = self.buffer[:, :, heads].index_select(3, chosen)
        self.lengths[row] = end
