"""Coupled verification: the target draws its token with the noise of (seed, position); a node is kept iff it holds it.

The text is a function of the target's laws and the seed alone, so it is text for text that of plain decoding under the
same rule, whatever the drafter guessed. A drafter that draws with `randomness.draw_coupled` and the same seed agrees often.
"""

from dataclasses import dataclass
from typing import ClassVar

from tenfold.systems.specdec.randomness import Randomness
from tenfold.systems.specdec.verifiers.evidence import Evidence, Verdict
from tenfold.systems.specdec.verifiers.greedy import follow


@dataclass(frozen=True)
class Coupled:
    """Chains and trees; the drafts' own laws are not used."""

    name: ClassVar[str] = "coupled"
    lossless: ClassVar[bool] = True

    def __call__(self, evidence: Evidence, randomness: Randomness) -> Verdict:
        return follow(evidence, lambda node: randomness.draw_at(evidence.position_after(node), evidence.target(node)))
