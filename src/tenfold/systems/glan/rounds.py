"""Questions of one syllabus in rounds: what the gates stop is replaced by the next draws of the stream.

Only what can be told from the syllabus alone counts: gates on single pairs, benchmarks, and a question that repeats an
earlier one word by word. So which draws are made depends on this syllabus's replies and nothing else, and a data set that
grows elsewhere changes nothing here. Near duplicates across subjects are found later, and are not replaced.
"""

from collections.abc import Callable, Sequence
from itertools import islice

from tenfold.systems.glan.grams import words_of
from tenfold.systems.glan.growing import stream_of
from tenfold.systems.glan.planner import Planner
from tenfold.systems.glan.sampling import Draw
from tenfold.systems.glan.tree import Pair, Syllabus

Accepts = Callable[[Pair], bool]


def accept_all(pair: Pair) -> bool:
    """Stands for no gate."""
    return True


class Rounds:
    """Hands out a syllabus's draws round by round, and is told what came of each."""

    def __init__(self, planner: Planner, syllabus: Syllabus, accepts: Accepts = accept_all) -> None:
        self.accepts = accepts
        self.num_replaced = 0
        """Draws that were handed out in place of others."""
        self._wanted = planner.config.questions
        self._next = planner.config.held_out + planner.config.questions
        self._left = planner.rounds
        self._stream = stream_of(planner, syllabus)
        self._round: dict[int, Pair | None] = {}
        self._is_whole = True
        self._is_further = False
        self._seen: set[tuple[str, ...]] = set()

    def next(self) -> Sequence[Draw]:
        """The draws of the next round, in order; none where all is well, nothing is left, or a reply is still missing."""
        if self._round:
            self._settle()
        if not self._left or not self._is_whole or not self._next:
            return ()
        self._left -= 1
        drawn = list(islice(self._stream, self._next))
        self.num_replaced += len(drawn) if self._is_further else 0
        self._is_further = True
        self._round = dict.fromkeys((draw.index for draw in drawn), None)
        return drawn

    def came(self, draw: Draw, pair: Pair | None) -> None:
        """What a draw became; None where a reply cannot be read."""
        self._round[draw.index] = pair

    def missing(self) -> None:
        """A reply of this round was not to be had, so what has to be replaced is not known yet."""
        self._is_whole = False

    def _settle(self) -> None:
        """Counts what is good, in the order of the draws, not in that in which replies came."""
        for pair in self._round.values():
            if pair is not None and pair.split == "train" and self._is_new(pair) and self.accepts(pair):
                self._wanted -= 1
        self._next = self._wanted
        self._round = {}

    def _is_new(self, pair: Pair) -> bool:
        words = tuple(words_of(pair.instruction))
        is_new = words not in self._seen
        self._seen.add(words)
        return is_new
