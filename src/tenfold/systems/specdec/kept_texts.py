"""Texts that free rows still hold, so that a request that begins like one of them is computed from the first difference on.

A chat's next turn begins with all that was said before, and all chats of a server begin with the same instructions.
"""

from bisect import bisect_left
from collections.abc import Sequence

from tenfold.nn.causal_lm import CausalLM


class KeptTexts:
    """What the free rows of an engine hold in their caches."""

    def __init__(self, model: CausalLM) -> None:
        self.model = model
        self.texts: dict[int, Sequence[int]] = {}
        """By free row, the tokens in its cache; the row that has been free longest comes first."""
        self.num_reused = 0
        """Prompt tokens that needed no computing, in all."""

    def keep(self, row: int, context: Sequence[int]) -> None:
        """A row becomes free; its cache holds the first tokens of `context`, and perhaps rejected guesses behind them."""
        num_cached = min(self.model.lengths[row], len(context))
        self._cut(row, num_cached)
        self.texts[row] = context[:num_cached]

    def best(self, free: Sequence[int], prompt: Sequence[int]) -> int:
        """The free row that shares most with a prompt; among equals one without a text, then the one free longest."""
        order = {row: place for place, row in enumerate(self.texts)}
        return max(free, key=lambda row: (self._shared(row, prompt), -order.get(row, -1)))

    def rewind(self, row: int, prompt: Sequence[int]) -> int:
        """Takes a row for a prompt: drops what differs, and the prompt's last token, whose logits are wanted.

        Returns how many tokens of the prompt are left in the cache.
        """
        shared = self._shared(row, prompt)
        self._cut(row, shared)
        self.texts.pop(row, None)
        self.num_reused += shared
        return shared

    def _shared(self, row: int, prompt: Sequence[int]) -> int:
        text = self.texts.get(row, ())
        most = min(len(text), len(prompt) - 1)
        return bisect_left(range(1, most + 1), True, key=lambda size: list(text[:size]) != list(prompt[:size]))

    def _cut(self, row: int, size: int) -> None:
        surplus = self.model.lengths[row] - size
        if surplus > 0:
            self.model.rollback([surplus if other == row else 0 for other in range(self.model.batch_size)])
