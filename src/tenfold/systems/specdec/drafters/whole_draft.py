"""A drafter that guesses in one piece, made to answer place by place: places are the nodes of its draft."""

from collections.abc import Sequence

from torch import Tensor

from tenfold.nn.drafting import NOTHING, ROOT, Draft, Drafter, StateScope
from tenfold.systems.specdec.drafters.continuations import Candidate, child_of

UNKNOWN_CONFIDENCE = 0.5
"""Stands in where a drafter gives none; the hybrid's calibration corrects it within a few rounds."""


class WholeDraft:
    """Wraps any drafter as a `GrowingDrafter`."""

    def __init__(self, drafter: Drafter) -> None:
        self.drafter = drafter
        self.name: str = drafter.name
        self.state: StateScope = drafter.state
        self.draft = NOTHING

    def reset(self) -> None:
        self.drafter.reset()

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        return self.drafter.propose(context, num_tokens)

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        self.drafter.observe(emitted, logits_KV, draft)

    def locate(self, context: Sequence[int], num_tokens: int) -> int | None:
        self.draft = self.drafter.propose(context, num_tokens)
        return ROOT

    def candidates(self, place: int | None) -> Sequence[Candidate]:
        if place is None:
            return ()
        children = [node for node, parent in enumerate(self.draft.parents) if parent == place]
        return [(self.draft.tokens[node], self._confidence(node)) for node in children]

    def after(self, place: int | None, token: int) -> int | None:
        """The child that holds `token`; None, a place without candidates, if the draft does not go there."""
        return None if place is None else child_of(self.draft, place, token)

    def _confidence(self, node: int) -> float:
        return self.draft.confidence[node] if self.draft.confidence else UNKNOWN_CONFIDENCE
