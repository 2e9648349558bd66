"""The target's law within a grammar, for any prefix that a verifier asks about.

Speculation asks for the laws after every drafted node, in any order, and later again for prefixes that go another way. The
grammar is followed from one prefix to the next: back to what both share, then forward. Where a draft has left the grammar
its law is never drawn from, because the node before has given that token no probability.
"""

# N rows, V vocabulary
from collections.abc import Sequence

import torch
from torch import Tensor

from tenfold.nn.generation import Constraint
from tenfold.nn.reuse import common_prefix
from tenfold.nn.sampling import GenerationSettings, Processors


class ConstrainedLaw:
    """A `LawOf` of one request: what its settings ask for, of the tokens that its constraint allows."""

    def __init__(self, settings: GenerationSettings, constraint: Constraint, num_prompt: int) -> None:
        """The constraint speaks of what follows the first `num_prompt` tokens of a prefix."""
        self.constraint, self.num_prompt = constraint, num_prompt
        self._processors = Processors(settings)
        self._followed: list[int] = []

    def __call__(self, logits_NV: Tensor, prefixes: Sequence[Sequence[int]]) -> Tensor:
        """(logits [N, V], one prefix per row) -> probabilities [N, V]."""
        rows = [self._masked(logits_V, prefix) for logits_V, prefix in zip(logits_NV, prefixes, strict=True)]
        return self._processors.law(torch.stack(rows), prefixes)

    def _masked(self, logits_V: Tensor, prefix: Sequence[int]) -> Tensor:
        """The logits after a prefix; as they are where the prefix is no text of the grammar."""
        return self.constraint.mask(logits_V) if self._follow(prefix[self.num_prompt :]) else logits_V

    def _follow(self, tokens: Sequence[int]) -> bool:
        """Moves the constraint to just behind `tokens`; False if it allows no such text, or nothing behind it."""
        shared = common_prefix(self._followed, tokens)
        if len(self._followed) > shared:
            self.constraint.rollback(len(self._followed) - shared)
            del self._followed[shared:]
        for token in tokens[shared:]:
            try:
                self.constraint.accept(token)
            except ValueError:
                return False
            self._followed.append(token)
        return not self.constraint.finished
