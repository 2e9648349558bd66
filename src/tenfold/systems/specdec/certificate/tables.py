"""A target small enough to enumerate: its law after every text is a row of a table of Fractions.

`TableModel` serves such a table through the engine's own seam, so that the whole loop can be certified. Its law depends on
which token it sees at which position; a cache, a mask or a position that is wrong therefore changes the law.
"""

# K query tokens of one pass, V vocabulary
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
import torch
from torch import Tensor

from tenfold.core.seeds import derive
from tenfold.nn.causal_lm import Exactness
from tenfold.systems.specdec.laws import Law

Seen = tuple[int, int]
"""(position, token)."""


@dataclass(frozen=True)
class Table:
    """A random law, some of it zero, for every set of seen tokens."""

    seed: int
    vocab_size: int

    def after(self, text: Sequence[int]) -> Law:
        """The law [V], in Fractions, of the token after a text that starts at position 0."""
        return self.after_seeing(tuple(enumerate(text)))

    def after_seeing(self, seen: tuple[Seen, ...]) -> Law:
        return _law(self.seed, self.vocab_size, seen)

    def logits_after(self, seen: tuple[Seen, ...]) -> Tensor:
        """Logarithms of the law, float64 [V]."""
        return torch.from_numpy(self.after_seeing(seen).astype(float)).log()


@cache
def _law(seed: int, vocab_size: int, seen: tuple[Seen, ...]) -> Law:
    number = derive(seed, *(part for pair in seen for part in pair))
    weights = [(number >> 3 * token) % 8 for token in range(vocab_size)]
    if not any(weights):
        weights = [1] * vocab_size
    return np.array([Fraction(weight, sum(weights)) for weight in weights], dtype=object)


class TableModel:
    """A table as a causal LM whose cache holds (position, token) pairs."""

    batch_size = 1
    max_positions = 64
    exactness: Exactness = "bit"

    def __init__(self, table: Table) -> None:
        self.table, self.vocab_size = table, table.vocab_size
        self.cached: list[Seen] = []

    @property
    def lengths(self) -> Sequence[int]:
        return [len(self.cached)]

    def reset(self) -> None:
        self.cached = []

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        return self.forward(torch.tensor(prompts))[:, -1]

    def forward(self, ids_BK: Tensor, *, depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None) -> Tensor:
        start, width = len(self.cached), ids_BK.shape[1]
        depths = range(width) if depths_K is None else depths_K.tolist()
        new = [(start + depth, token) for depth, token in zip(depths, ids_BK[0].tolist(), strict=True)]
        ancestors = (torch.ones(width, width).tril() if ancestors_KK is None else ancestors_KK).tolist()
        seen = [[pair for pair, is_seen in zip(new, row, strict=True) if is_seen] for row in ancestors]
        logits_KV = torch.stack([self.table.logits_after((*self.cached, *pairs)) for pairs in seen])
        self.cached += new
        return logits_KV[None]

    def rollback(self, counts: Sequence[int]) -> None:
        del self.cached[len(self.cached) - counts[0] :]

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        self.cached[start:] = [self.cached[slot] for slot in slots]
