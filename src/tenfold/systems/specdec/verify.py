"""What of a draft is kept. Input: the target's logits along the draft; output: accepted nodes and one more token.

    greedy   a node is kept if and only if it is the argmax of the processed logits; the argmax after the last kept
             node is emitted too (the correction, or the bonus after a whole path)
"""

# K = n + 1 query rows: row 0 follows the context, row i + 1 follows node i; V vocabulary
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from tenfold.nn.drafting import ROOT, Draft
from tenfold.nn.sampling import Processors


@dataclass(frozen=True)
class Verdict:
    """The nodes accepted (a path from the root) and the token that follows them."""

    accepted: Sequence[int]
    next_token: int


Verifier = Callable[[Draft, Tensor, Sequence[int], Processors], Verdict]
"""(draft, logits [K, V], context, processors) -> verdict."""


def verify_greedy(draft: Draft, logits_KV: Tensor, context: Sequence[int], processors: Processors) -> Verdict:
    """Follows the target's argmax down the tree for as long as some child holds it."""
    prefixes = [[*context, *_tokens_to(draft, node)] for node in range(ROOT, len(draft.tokens))]
    choice_K = processors(logits_KV, prefixes).argmax(-1).tolist()
    accepted: list[int] = []
    node = ROOT
    while (child := _child_with(draft, node, choice_K[node + 1])) is not None:
        accepted.append(child)
        node = child
    return Verdict(accepted, choice_K[node + 1])


def _child_with(draft: Draft, parent: int, token: int) -> int | None:
    nodes = range(parent + 1, len(draft.tokens))
    return next((node for node in nodes if draft.parents[node] == parent and draft.tokens[node] == token), None)


def _tokens_to(draft: Draft, node: int) -> list[int]:
    return [draft.tokens[step] for step in draft.path(node)]
