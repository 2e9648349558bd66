"""A drafter of known quality, for measuring everything else: it knows the target's text and errs on purpose.

Each drafted token is right with probability `alpha`, independently, so that the mean of accepted tokens follows the
survey's formula; `cost` declares what a drafted token would cost. Results obtained with it are synthetic: they say
how fast speculation is at this acceptance, not what a drafter achieves. For sampling, `oracle_law` turns the target's
law p into a draft law q with sum min(p, q) = alpha, the acceptance of speculative sampling.
"""

# N rows, V vocabulary
import random
from collections.abc import Sequence

from torch import Tensor

from tenfold.core.seeds import derive
from tenfold.nn.drafting import NOTHING, Draft, StateScope


class OracleDrafter:
    """Knows `text`, prompt and continuation; silent where the context is another."""

    name = "oracle"
    state: StateScope = "request"
    synthetic = True

    def __init__(self, text: Sequence[int], *, alpha: float, vocab_size: int, cost: float = 0.0, seed: int = 0) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}; a probability between 0 and 1 is accepted")
        if cost < 0 or vocab_size < 2:
            raise ValueError(f"cost is {cost} and vocab_size {vocab_size}; we need cost >= 0 and vocab_size >= 2")
        self.text, self.alpha, self.vocab_size, self.seed = list(text), alpha, vocab_size, seed
        self.cost = cost
        """Time of a drafted token, in plain target passes."""
        self.reset()

    def reset(self) -> None:
        self.draws = random.Random(derive(self.seed, "oracle"))

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        if len(context) > len(self.text) or context[-1] != self.text[len(context) - 1]:
            return NOTHING
        known = self.text[len(context) : len(context) + num_tokens]
        tokens = [token if self.draws.random() < self.alpha else self._other_than(token) for token in known]
        return Draft.chain(tokens, self.name, confidence=[self.alpha] * len(tokens)) if tokens else NOTHING

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        """Nothing to learn."""

    def _other_than(self, token: int) -> int:
        return (token + self.draws.randrange(1, self.vocab_size)) % self.vocab_size


def oracle_law(law_NV: Tensor, alpha: float) -> Tensor:
    """Draft laws [N, V], float64, that share exactly `alpha` with the given laws.

    The missing mass is taken from all tokens in proportion and given to the least likely one.

    Raises:
        ValueError: alpha is below what any law must share with one of `law_NV`, its smallest probability.
    """
    law_NV = law_NV.double()
    least_N1, taker_N1 = law_NV.min(-1, keepdim=True)
    if alpha > 1 or bool((least_N1 > alpha).any()):
        raise ValueError(
            f"alpha is {alpha}; between {least_N1.max().item():.3g} (the smallest probability) and 1 is accepted"
        )
    kept_NV = law_NV * ((alpha - least_N1) / (1 - least_N1))
    return kept_NV.scatter(-1, taker_N1, least_N1 + (1 - alpha))
