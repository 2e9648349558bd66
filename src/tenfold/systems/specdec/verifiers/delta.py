"""Verification without the draft's law: a node is kept with probability p(x); if it is not, p(x) is zeroed.

Exact for any drafter. It is `sample` with q sure of the drafted token; it keeps sum q p where `sample` keeps sum min(p, q).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from tenfold.systems.specdec.randomness import Randomness
from tenfold.systems.specdec.verifiers.evidence import Evidence, Verdict
from tenfold.systems.specdec.verifiers.sample import descend


@dataclass(frozen=True)
class Delta:
    """Chains and trees; chosen siblings (the likeliest k) are tried one after the other."""

    name: ClassVar[str] = "delta"
    lossless: ClassVar[bool] = True

    def __call__(self, evidence: Evidence, randomness: Randomness) -> Verdict:
        return descend(replace(evidence, drafted=None), randomness)
