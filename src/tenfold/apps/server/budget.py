"""How many tokens each row may guess, where all rows share the tokens of a pass."""

from collections.abc import Callable, Sequence

from tenfold.nn.drafting import Draft
from tenfold.systems.specdec.rounds import Round

HOPE = 0.5
"""The share of right guesses that a row begins with."""
MEMORY = 0.9
"""Weight of what was known before a round."""
HOPELESS = 0.1
"""Below this share of right guesses a row stops guessing for a while."""
PAUSE = 16
"""Rounds of such a while; then it tries again."""


class SharedLength:
    """A `DraftLength`: a lone row guesses as much as it may, many rows divide the pass among themselves.

    A pass costs about as much for a few tokens as for one, and more from there on: guesses are cheap while rows are free.
    Who hardly ever guesses right pauses. No text depends on any of this, only the speed.
    """

    def __init__(self, most: int, pass_tokens: int, num_rows: Callable[[], int]) -> None:
        self._most, self.pass_tokens, self.num_rows = most, pass_tokens, num_rows
        self.right_share = HOPE
        self.pause = 0
        """Rounds until this row guesses again."""

    @property
    def most(self) -> int:
        if self.pause:
            return 0
        share = self.pass_tokens // max(self.num_rows(), 1)
        return max(1, min(self._most, share - 1))

    def trim(self, draft: Draft, length: int) -> Draft:
        return draft

    def observe(self, step: Round, length: int, accepted: Sequence[int]) -> None:
        if self.pause:
            self.pause -= 1
        elif step.num_drafted:
            right_share = step.num_accepted / step.num_drafted
            self.right_share = MEMORY * self.right_share + (1 - MEMORY) * right_share
            if self.right_share < HOPELESS:
                self.pause, self.right_share = PAUSE, 2 * HOPELESS
