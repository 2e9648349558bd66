"""Block verification: the accepted length is decided for the chain as a whole (Sun et al., arXiv 2403.10444).

    P_0 = 1,  P_i = min(1, P_{i-1} p(x_i) / q(x_i))            how far the first i tokens are covered
    r_i(y) = max(0, P_i p(y | x_<=i) - q(y | x_<=i))           what is still owed after them
    b_i = sum r_i / (sum r_i + 1 - P_i),  b_gamma = P_gamma    0/0 is 0

The accepted length is the largest i whose own coin shows b_i; the next token comes from r_i, normalised, or from p after
the whole chain. Token by token, one unlucky coin ends a draft; here a later one can still save it.
"""

# p the target's law, q the draft's
from dataclasses import dataclass
from typing import Any, ClassVar

from tenfold.nn.drafting import ROOT
from tenfold.systems.specdec.laws import Law, excess, normalised
from tenfold.systems.specdec.randomness import Randomness
from tenfold.systems.specdec.verifiers.evidence import Evidence, Verdict
from tenfold.systems.specdec.verifiers.sample import Excess, descend


@dataclass(frozen=True)
class Block:
    """Chains; a tree is judged as `sample` does."""

    name: ClassVar[str] = "block"
    lossless: ClassVar[bool] = True
    excess: Excess = excess

    def __call__(self, evidence: Evidence, randomness: Randomness) -> Verdict:
        if not evidence.draft.is_chain:
            return descend(evidence, randomness, excess=self.excess)
        covered: Any = 1
        num_accepted, (_, next_law_V) = 0, self._stop_after(evidence, ROOT, covered)
        for node, token in enumerate(evidence.draft.tokens):
            p_V, q_V = evidence.target(node - 1), evidence.drawn_from(node)
            covered = min(1, covered * p_V[token] / q_V[token])
            probability, law_V = self._stop_after(evidence, node, covered)
            if randomness.accepts(probability):
                num_accepted, next_law_V = node + 1, law_V
            if not covered:
                break
        return Verdict(range(num_accepted), randomness.draw(next_law_V))

    def _stop_after(self, evidence: Evidence, node: int, covered: Any) -> tuple[Any, Law]:
        """b of a node given its P, and the law of the next token if the draft is kept up to here."""
        p_V = evidence.target(node)
        if node == len(evidence.draft.tokens) - 1:
            return covered, p_V
        owed_V = self.excess(covered * p_V, evidence.drawn_from(node + 1))
        owed = owed_V.sum()
        probability = owed / (owed + (1 - covered)) if owed > 0 else 0
        return probability, normalised(owed_V, otherwise_V=p_V)
