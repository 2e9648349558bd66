"""What a verifier judges by, and what it returns.

In: a draft and, for each of its nodes, the target's law after it (p) and the law it was drawn from (q), both float32 and
made by the same processors. Out: the accepted nodes and one more token.
"""

# K = n + 1 query rows: row 0 follows the context, row i + 1 follows node i; n drafted tokens, V vocabulary
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from tenfold.nn.drafting import Draft
from tenfold.systems.specdec.laws import Law, point_mass
from tenfold.systems.specdec.randomness import Randomness

LawOf = Callable[[Tensor, Sequence[Sequence[int]]], Tensor]
"""(logits [N, V], one prefix per row) -> probabilities [N, V]; `Processors.law` is one."""

LAW_TOLERANCE = 1e-4
"""How far from 1 a draft law may sum before it counts as unusable; float32 rounding stays far below."""

FULL_PRECISION = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Verdict:
    """The nodes accepted (a path from the root) and the token that follows them."""

    accepted: Sequence[int]
    next_token: int


@dataclass(frozen=True)
class Evidence:
    """A draft with the laws to judge it by."""

    draft: Draft
    position: int
    """Absolute position of the first drafted token."""
    target: Callable[[int], Law]
    """p after a node; ROOT stands for the context."""
    drafted: Callable[[int], Law] | None = None
    """The very law a node's token was drawn from, given the siblings before it; None if there is no usable one."""

    def children(self, node: int) -> Iterator[int]:
        """The nodes below `node`, in the order in which they were drawn."""
        return (child for child in range(node + 1, len(self.draft.parents)) if self.draft.parents[child] == node)

    def position_after(self, node: int) -> int:
        """Absolute position of the token that follows `node`."""
        return self.position + len(self.draft.path(node))

    def drawn_from(self, node: int) -> Law:
        """q of a node; sure of its token if there is no usable law, or if that law rules the token out."""
        token = self.draft.tokens[node]
        if self.drafted is not None:
            law_V = self.drafted(node)
            if law_V[token] > 0:
                return law_V
        return point_mass(token, like_V=self.target(self.draft.parents[node]))


class Verifier(Protocol):
    """A rule for what of a draft is kept."""

    name: ClassVar[str]
    lossless: ClassVar[bool]
    """Whether the text keeps the target's own law."""

    def __call__(self, evidence: Evidence, randomness: Randomness) -> Verdict: ...


def gather(draft: Draft, logits_KV: Tensor, context: Sequence[int], law_of: LawOf) -> Evidence:
    """The evidence of one target pass. A node's law is computed when a verifier first asks for it."""

    @cache
    def target(node: int) -> Law:
        prefix = [*context, *(draft.tokens[step] for step in draft.path(node))]
        return law_of(logits_KV[node + 1][None], [prefix])[0].cpu().numpy()

    law_nV = draft.law_nV
    if law_nV is None or not _is_usable(law_nV, len(draft.tokens), logits_KV.shape[-1]):
        return Evidence(draft, len(context), target)
    rows_nV = law_nV.to("cpu", logits_KV.dtype).numpy()
    return Evidence(draft, len(context), target, lambda node: rows_nV[node])


def _is_usable(law_nV: Tensor, num_nodes: int, vocab_size: int) -> bool:
    """A law of half precision is not the one its tokens were drawn from, or should not be."""
    if law_nV.shape != (num_nodes, vocab_size) or law_nV.dtype not in FULL_PRECISION:
        return False
    off_by_n = (law_nV.sum(-1) - 1).abs()
    return bool((off_by_n < LAW_TOLERANCE).all() and (law_nV >= 0).all())
