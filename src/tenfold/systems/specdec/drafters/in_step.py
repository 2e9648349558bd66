"""A network kept in step with a context that grows by accepted tokens and never contains rejected ones.

The cache holds what was fed last time, drafted tokens included. Before the next draft it is rolled back to the longest
prefix it shares with the new context, and only the rest is fed.
"""

# V vocabulary
from collections.abc import Sequence

import torch
from torch import Tensor

from tenfold.nn.causal_lm import CausalLM
from tenfold.nn.drafting import Draft


class InStep:
    """A one-row `CausalLM` and the tokens in its cache."""

    def __init__(self, model: CausalLM) -> None:
        if model.batch_size != 1:
            raise ValueError(f"the draft model has {model.batch_size} rows; load it with batch_size=1")
        self.model = model
        self.reset()

    def reset(self) -> None:
        self.model.reset()
        self.cached: list[int] = []

    def room_after(self, context: Sequence[int]) -> int:
        """How many tokens the model can draft after `context`; the last one need not be fed, so it takes no position."""
        return self.model.max_positions - len(context) + 1

    def follow(self, context: Sequence[int]) -> Tensor:
        """Brings the cache to `context` (never empty) and returns the logits [V] of what follows it."""
        # The last token is fed even when it is cached: only a pass over it gives its logits.
        kept = min(shared_prefix(self.cached, context), len(context) - 1)
        self.model.rollback([len(self.cached) - kept])
        self.cached = list(context)
        return self.model.prefill([context[kept:]])[0]

    def observe(self, emitted: Sequence[int], draft: Draft) -> None:
        """Nothing to learn: what was rejected is rolled back when the next context comes."""

    def feed(self, token: int) -> Tensor:
        """Appends one token and returns the logits [V] of what follows it."""
        self.cached.append(token)
        return self.model.forward(torch.tensor([[token]]))[0, 0]


def shared_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
