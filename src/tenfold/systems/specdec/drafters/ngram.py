"""Prompt lookup: what followed the last few tokens when they last occurred in the context (survey, section 4.2).

The longest suffix of the context that occurred before, `max_ngram` tokens at most, is looked up in an index that grows
with the context; of several occurrences the newest counts. Whatever followed it is the draft, also if it is short.
"""

from collections.abc import Sequence

from torch import Tensor

from tenfold.nn.drafting import NOTHING, Draft, StateScope

Gram = tuple[int, ...]


class NgramDrafter:
    """Looks up suffixes of `max_ngram` down to `min_ngram` tokens."""

    name = "ngram"
    state: StateScope = "request"

    def __init__(self, max_ngram: int = 4, min_ngram: int = 1) -> None:
        if not 1 <= min_ngram <= max_ngram:
            raise ValueError(f"min_ngram is {min_ngram} and max_ngram {max_ngram}; we need 1 <= min_ngram <= max_ngram")
        self.sizes = range(max_ngram, min_ngram - 1, -1)
        self.reset()

    def reset(self) -> None:
        self.next_place: dict[Gram, int] = {}
        self.indexed = 0

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        self._index(context)
        for size in self.sizes:
            place = self.next_place.get(tuple(context[-size:])) if len(context) >= size else None
            if place is not None:
                return Draft.chain(list(context[place : place + num_tokens]), f"{self.name}-{size}")
        return NOTHING

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        """Nothing to learn: the context holds it all."""

    def _index(self, context: Sequence[int]) -> None:
        """Notes, for each n-gram that some token already follows, where its newest occurrence ends."""
        for end in range(max(self.indexed, 1), len(context)):
            for size in self.sizes:
                if size <= end:
                    self.next_place[tuple(context[end - size : end])] = end
        self.indexed = len(context)
