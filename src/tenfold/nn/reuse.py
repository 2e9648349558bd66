"""An engine that remembers its last prompt: a new prompt that begins alike is computed from the first difference on.

Only for engines whose bits do not depend on how a text was split into passes; with others an answer would depend on
what was asked before it. Whoever else used the engine in between is noticed, and then nothing is reused.
"""

from collections.abc import Sequence
from itertools import takewhile

from torch import Tensor

from tenfold.nn.causal_lm import CausalLM, Exactness


def common_prefix(*sequences: Sequence[int]) -> int:
    """How many first tokens all sequences share."""
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*sequences, strict=False)))


class Reusing:
    """A `CausalLM` of one row around another. `reset` forgets nothing yet; the next `prefill` drops what differs."""

    batch_size = 1

    def __init__(self, engine: CausalLM) -> None:
        assert engine.batch_size == 1, engine.batch_size
        self.engine = engine
        self.vocab_size = engine.vocab_size
        self.max_positions = engine.max_positions
        self.tokens: list[int] = []
        """What the engine's cache holds."""
        self.num_reused = 0
        """Prompt tokens that need not be computed, in all."""
        self._is_reset = True
        self._left_lengths: Sequence[int] | None = None
        """The very object that `engine.lengths` was after our last step; an engine makes a new one when it is reset."""

    @property
    def exactness(self) -> Exactness:
        return self.engine.exactness

    @property
    def lengths(self) -> Sequence[int]:
        return [0] if self._is_reset else self.engine.lengths

    def reset(self) -> None:
        self._is_reset = True

    def forget(self) -> None:
        """Really empties the cache; needed after somebody else used the engine."""
        self.engine.reset()
        self.tokens, self._is_reset = [], True
        self._left_lengths = self.engine.lengths

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        (prompt,) = prompts
        rest = prompt[self._rewound(prompt) :] if self._is_reset else prompt
        logits_1V = self.engine.prefill([rest])
        self.tokens += rest
        self._left_lengths = self.engine.lengths
        return logits_1V

    def forward(self, ids_BK: Tensor, *, depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None) -> Tensor:
        logits_1KV = self.engine.forward(ids_BK, depths_K=depths_K, ancestors_KK=ancestors_KK)
        self.tokens += ids_BK[0].tolist()
        self._left_lengths = self.engine.lengths
        return logits_1KV

    def rollback(self, counts: Sequence[int]) -> None:
        self.engine.rollback(counts)
        self.tokens = self.tokens[: self.engine.lengths[0]]
        self._left_lengths = self.engine.lengths

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        self.engine.keep(row, start, slots)
        self.tokens = [*self.tokens[:start], *(self.tokens[slot] for slot in slots)]
        self._left_lengths = self.engine.lengths

    def _rewound(self, prompt: Sequence[int]) -> int:
        """Drops what differs from `prompt`, and its last token, whose logits are wanted; returns how much is left."""
        if self.engine.lengths is not self._left_lengths or self.engine.lengths[0] != len(self.tokens):
            self.forget()
        shared = min(common_prefix(self.tokens, prompt), max(0, len(prompt) - 1))
        self.engine.rollback([len(self.tokens) - shared])
        self.tokens, self._is_reset = self.tokens[:shared], False
        self.num_reused += shared
        return shared
