"""What the rule must know of every cached entry, row by row, in the order of the cache's slots."""

# F fields, B rows, K new entries, S slots
from collections.abc import Sequence

import torch
from torch import Tensor

from tenfold.systems.sentinel.rules import Meta
from tenfold.systems.sentinel.segments import Entry

FIELDS = ("order", "i", "c", "g", "level", "kept", "until")
ORDER, KEPT, UNTIL = FIELDS.index("order"), FIELDS.index("kept"), FIELDS.index("until")
Values = tuple[int, ...]
"""The fields of one entry."""


def values_of(entry: Entry, order: int, *, kept: bool, until: int) -> Values:
    """An entry's fields."""
    return order, entry.i, entry.c, entry.g, entry.level, int(kept), until


class MetaTable:
    """int32 [F, B, S] with a length per row; kept in step with the engine's cache."""

    def __init__(self, batch_size: int) -> None:
        self.lengths = [0] * batch_size
        self.data = torch.zeros(len(FIELDS), batch_size, 256, dtype=torch.int32)

    def append(self, rows: Sequence[Sequence[Values]], *, room: int) -> None:
        """New entries behind each row's; afterwards there is room for so many slots."""
        needed = max(room, *(length + len(new) for length, new in zip(self.lengths, rows, strict=True)))
        if needed > self.data.shape[2]:
            grown = torch.zeros(*self.data.shape[:2], max(needed, 2 * self.data.shape[2]), dtype=torch.int32)
            grown[:, :, : self.data.shape[2]] = self.data
            self.data = grown
        for row, new in enumerate(rows):
            if new:
                start = self.lengths[row]
                self.data[:, row, start : start + len(new)] = torch.tensor(new, dtype=torch.int32).T
                self.lengths[row] += len(new)

    def cut(self, row: int, length: int) -> None:
        """Drops the entries behind the first `length`."""
        self.lengths[row] = length

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        """As `KVCache.keep`."""
        end = start + len(slots)
        self.data[:, row, start:end] = self.data[:, row, list(slots)]
        self.lengths[row] = end

    def orders(self, row: int) -> Tensor:
        """[S] a view, ascending."""
        return self.data[ORDER, row, : self.lengths[row]]

    def set_until(self, row: int, orders: Sequence[int], until: int) -> None:
        """Writes when some entries of a row stop being kept."""
        for order in orders:
            self.data[UNTIL, row, : self.lengths[row]][self.orders(row) == order] = until

    def keys(self, width: int) -> Meta:
        """All rows' entries [B, width]; what is behind a row's length is not real."""
        real = torch.arange(width) < torch.tensor(self.lengths)[:, None]
        return _meta(self.data[:, :, :width], real)

    def row(self, row: int) -> Meta:
        """One row's entries [S]."""
        length = self.lengths[row]
        return _meta(self.data[:, row, :length], torch.ones(length, dtype=torch.bool))

    @staticmethod
    def queries(rows: Sequence[Sequence[Values]], width: int) -> Meta:
        """New entries as queries [B, K]; shorter rows end in padding."""
        filler = (0,) * len(FIELDS)
        data = torch.tensor([[*new, *[filler] * (width - len(new))] for new in rows], dtype=torch.int32).permute(2, 0, 1)
        return _meta(data, torch.arange(width) < torch.tensor([len(new) for new in rows])[:, None])


def _meta(data: Tensor, real: Tensor) -> Meta:
    order, i, c, g, level, kept, until = data.unbind(0)
    return Meta(order, i, c, g, torch.zeros_like(order), level, real, kept.bool() & real, until)
