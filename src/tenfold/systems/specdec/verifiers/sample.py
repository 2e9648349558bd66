"""Speculative sampling, token by token (survey, section 5.2), and its recursive form for siblings in a token tree.

Siblings are tried in order: x ~ q is kept with probability min(1, p(x) / q(x)); if it is not, p becomes max(0, p - q),
normalised, and the next sibling is tried against that. After the last kept node a token is drawn from what p has become.
A chain is the tree with one child a node.

Exact for any q that depends on the context and the siblings before alone: siblings drawn with replacement, or without it
(their q leaves out the earlier ones), or chosen (their q is sure of the token). A tree pruned by what was drawn is not that.
"""

# p the target's law, q the draft's
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from tenfold.nn.drafting import ROOT
from tenfold.systems.specdec.laws import Law, excess, normalised
from tenfold.systems.specdec.randomness import Randomness
from tenfold.systems.specdec.verifiers.evidence import Evidence, Verdict

Excess = Callable[[Law, Law], Law]


@dataclass(frozen=True)
class Sample:
    """Chains and trees."""

    name: ClassVar[str] = "sample"
    lossless: ClassVar[bool] = True
    excess: Excess = excess

    def __call__(self, evidence: Evidence, randomness: Randomness) -> Verdict:
        return descend(evidence, randomness, excess=self.excess)


def descend(evidence: Evidence, randomness: Randomness, *, excess: Excess = excess, leniency: Any = 1) -> Verdict:
    """From the root down, one kept sibling a level; `leniency` above 1 inflates p when a node is judged."""
    accepted: list[int] = []
    node = ROOT
    while True:
        child, law_V = _try_children(evidence, node, randomness, excess, leniency)
        if child is None:
            return Verdict(accepted, randomness.draw(law_V))
        accepted.append(child)
        node = child


def _try_children(
    evidence: Evidence, node: int, randomness: Randomness, excess: Excess, leniency: Any
) -> tuple[int | None, Law]:
    """The kept child, if any, and what p has become."""
    p_V = evidence.target(node)
    for child in evidence.children(node):
        token, q_V = evidence.draft.tokens[child], evidence.drawn_from(child)
        if randomness.accepts(min(1, leniency * p_V[token] / q_V[token])):
            return child, p_V
        p_V = normalised(excess(p_V, q_V), otherwise_V=p_V)
    return None, p_V
