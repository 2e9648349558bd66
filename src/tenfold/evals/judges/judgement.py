"""What a judge says: a label, how probable it is, and which stage settled it. A judge that cannot say so fails."""

from dataclasses import dataclass
from typing import NamedTuple

from tenfold.core.errors import ApparatusError


class JudgeError(ApparatusError):
    """No judgement could be made; the sample stays unscored (`judge_failed`), it is never counted as negative."""


@dataclass(frozen=True)
class Judgement:
    """A label with its probability."""

    label: bool
    probability: float
    """Of the label being true, 0 to 1."""
    stage: str
    """Which stage settled it."""
    settled: bool = True
    """False where even the last stage was not sure and its better half counts."""


class Band(NamedTuple):
    """Probabilities from low to high, both included, in which a stage passes on instead of settling."""

    low: float
    high: float

    def holds(self, probability: float) -> bool:
        """Whether a stage with this band passes on."""
        return self.low <= probability <= self.high


NEVER_PASSES = Band(1.0, 0.0)
ALWAYS_PASSES = Band(0.0, 1.0)
EVEN = 0.5


def is_positive(probability: float) -> bool:
    """The label that a probability stands for."""
    return probability >= EVEN
