"""Lossy: speculative sampling with the target's probabilities inflated by a factor when a token is judged."""

from dataclasses import dataclass
from typing import ClassVar

from tenfold.systems.specdec.randomness import Randomness
from tenfold.systems.specdec.verifiers.evidence import Evidence, Verdict
from tenfold.systems.specdec.verifiers.sample import descend


@dataclass(frozen=True)
class Lenient:
    """Keeps x with probability min(1, L p(x) / q(x))."""

    name: ClassVar[str] = "lenient"
    lossless: ClassVar[bool] = False
    leniency: float = 2.0
    """L; 1 would be exact."""

    def __call__(self, evidence: Evidence, randomness: Randomness) -> Verdict:
        return descend(evidence, randomness, leniency=self.leniency)
