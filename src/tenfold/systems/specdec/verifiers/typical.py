"""Lossy: typical acceptance. Keeps a token that is not too unlikely, measured against how undecided the target is.

x is kept iff p(x) >= min(epsilon, delta exp(-H(p))), with H the entropy in nats; the next token is drawn from p.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tenfold.nn.drafting import ROOT
from tenfold.systems.specdec.laws import Law
from tenfold.systems.specdec.randomness import Randomness
from tenfold.systems.specdec.verifiers.evidence import Evidence, Verdict


@dataclass(frozen=True)
class Typical:
    """Chains and trees; of several typical siblings the first is kept."""

    name: ClassVar[str] = "typical"
    lossless: ClassVar[bool] = False
    epsilon: float = 0.09
    """A token at least this probable is always kept."""
    delta: float = 0.3
    """Share of exp(-entropy) that a token has to reach otherwise."""

    def __call__(self, evidence: Evidence, randomness: Randomness) -> Verdict:
        accepted: list[int] = []
        node = ROOT
        while (child := self._typical_child(evidence, node)) is not None:
            accepted.append(child)
            node = child
        return Verdict(accepted, randomness.draw(evidence.target(node)))

    def _typical_child(self, evidence: Evidence, node: int) -> int | None:
        p_V = evidence.target(node)
        threshold = min(self.epsilon, self.delta * float(np.exp(-entropy(p_V))))
        return next((child for child in evidence.children(node) if p_V[evidence.draft.tokens[child]] >= threshold), None)


def entropy(law_V: Law) -> float:
    """Entropy in nats."""
    possible = law_V[law_V > 0].astype(float)
    return float(-(possible * np.log(possible)).sum())
