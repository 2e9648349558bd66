"""Greedy verification: a node is kept if and only if it is the argmax of the processed logits.

The argmax after the last kept node is emitted too: the correction, or the bonus after a whole path.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from tenfold.nn.drafting import ROOT
from tenfold.systems.specdec.randomness import Randomness
from tenfold.systems.specdec.verifiers.evidence import Evidence, Verdict


@dataclass(frozen=True)
class Greedy:
    """For greedy decoding only: under do_sample it would replace the target's law by its likeliest token."""

    name: ClassVar[str] = "greedy"
    lossless: ClassVar[bool] = True

    def __call__(self, evidence: Evidence, randomness: Randomness) -> Verdict:
        return follow(evidence, lambda node: int(evidence.target(node).argmax()))


def follow(evidence: Evidence, choose: Callable[[int], int]) -> Verdict:
    """Walks down the tree for as long as some child holds the token that `choose` gives for the node above it."""
    accepted: list[int] = []
    node = ROOT
    while True:
        token = choose(node)
        child = next((child for child in evidence.children(node) if evidence.draft.tokens[child] == token), None)
        if child is None:
            return Verdict(accepted, token)
        accepted.append(child)
        node = child
