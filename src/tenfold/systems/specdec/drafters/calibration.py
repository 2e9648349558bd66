"""How often guesses of a kind come true: a discounted share of hits, starting from the guesser's own word."""

import math
from collections.abc import Hashable
from dataclasses import dataclass

DISCOUNT = 0.99
"""Weight of everything seen so far when one more guess of the kind is judged."""
CLASSES_PER_OCTAVE = 2
"""Confidences are told apart in classes that halve or double the odds in this many steps."""
OWN_WORD = 4.0
"""The guesser's first confidence counts like this many judged guesses."""


@dataclass
class Record:
    """What became of the guesses of one kind."""

    hits: float
    trials: float


class Calibration:
    """One running estimate per kind of guess."""

    def __init__(self) -> None:
        self.records: dict[Hashable, Record] = {}
        self.rates: dict[Hashable, float] = {}

    def __call__(self, kind: Hashable, confidence: float) -> float:
        """The probability that a guess of this kind comes true; its own confidence if none was judged yet."""
        return self.rates.get(kind, confidence)

    def note(self, kind: Hashable, confidence: float, came_true: bool) -> None:
        """Judges a guess that was made with this confidence."""
        record = self.records.setdefault(kind, Record(OWN_WORD * confidence, OWN_WORD))
        record.hits = DISCOUNT * record.hits + came_true
        record.trials = DISCOUNT * record.trials + 1
        self.rates[kind] = record.hits / record.trials


def confidence_class(confidence: float) -> int:
    """Confidences of about the same odds; those beyond 1000 to 1 are not told apart."""
    odds = confidence / max(1 - confidence, 0.001)
    return round(CLASSES_PER_OCTAVE * math.log2(max(odds, 0.001)))
