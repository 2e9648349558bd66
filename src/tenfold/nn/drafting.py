"""The seam for drafters: who guesses the next tokens so that the target can check them in one pass.

A draft is a token tree below the last token of the context; a chain is the tree in which each node's parent is the node
before it. A drafter may be wrong as often as it likes: the verifier decides what is kept.
"""

# n drafted tokens, V vocabulary
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

ROOT = -1
"""The parent of a node that directly follows the context."""

StateScope = Literal["none", "request", "process", "corpus"]
"""How long a drafter's memory lives: not at all, one request, the process, or a corpus fixed beforehand."""


@dataclass(frozen=True)
class Draft:
    """Guessed tokens as a tree in which every parent stands before its children."""

    tokens: Sequence[int]
    parents: Sequence[int]
    source: str
    """Which drafter guessed."""
    confidence: Sequence[float] = field(default=())
    """The drafter's own estimate that a node is accepted, given that its parent is; empty if it has none."""
    law_nV: Tensor | None = None
    """float32 [n, V]: the law each token was drawn from; None if the draft was not drawn from a usable law."""

    @staticmethod
    def chain(
        tokens: Sequence[int], source: str, *, confidence: Sequence[float] = (), law_nV: Tensor | None = None
    ) -> "Draft":
        """A draft in which each token follows the one before it."""
        return Draft(tokens, range(ROOT, len(tokens) - 1), source, confidence, law_nV)

    @property
    def is_chain(self) -> bool:
        return all(parent == node - 1 for node, parent in enumerate(self.parents))

    def first_path(self) -> "Draft":
        """The chain of first children from the root down: what of a tree is checked where only chains are."""
        nodes: list[int] = []
        for node, parent in enumerate(self.parents):
            if parent == (nodes[-1] if nodes else ROOT):
                nodes.append(node)
        law_nV = None if self.law_nV is None else self.law_nV[nodes]
        confidence = [self.confidence[node] for node in nodes] if self.confidence else ()
        return Draft.chain([self.tokens[node] for node in nodes], self.source, confidence=confidence, law_nV=law_nV)

    @property
    def depths(self) -> list[int]:
        """Depth of each node; a node that directly follows the context has depth 1."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent == ROOT else depths[parent] + 1)
        return depths

    def ancestry(self) -> Tensor:
        """Bool [n + 1, n + 1]: what each query of a verifying pass sees, the last context token being query 0."""
        seen = torch.eye(len(self.tokens) + 1, dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            seen[node + 1] |= seen[parent + 1]
        return seen

    def path(self, node: int) -> list[int]:
        """The nodes from the first below the root down to `node`, inclusive."""
        path = []
        while node != ROOT:
            path.append(node)
            node = self.parents[node]
        return path[::-1]


NOTHING = Draft((), (), "none")
"""The draft of a drafter that has no guess: the round is a plain decoding step."""


@runtime_checkable
class Drafter(Protocol):
    """Proposes continuations of a context, and learns from what the target made of them."""

    name: str
    state: StateScope

    def reset(self) -> None:
        """Forgets the request; called before each new prompt."""
        ...

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        """Guesses at most `num_tokens` tokens to follow `context` (prompt and output so far, never empty)."""
        ...

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        """After a verifying pass: the tokens it emitted, the target's logits for every query row, and the draft."""
        ...
