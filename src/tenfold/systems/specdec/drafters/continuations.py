"""Growing a draft token by token: what may follow, how likely, and what may follow that.

A source of continuations knows places (after which tokens we are) and, for each, its candidates. `grow` expands the
likeliest place first until the budget is spent: the nodes with the highest products of confidences along their path
(survey, section 4.3). A chain follows the best candidate only.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from tenfold.nn.drafting import NOTHING, ROOT, Draft, Drafter

Shape = Literal["chain", "tree"]
Candidate = tuple[int, float]
"""A token and the confidence, in (0, 1], that it comes next."""


class Continuations(Protocol):
    """Candidates for every place; a place is whatever the source needs to go on from there."""

    def candidates(self, place: Any) -> Sequence[Candidate]:
        """What may follow at `place`, each token once, likeliest first."""
        ...

    def after(self, place: Any, token: int) -> Any:
        """The place after one more token, be it a candidate or not."""
        ...


@runtime_checkable
class GrowingDrafter(Drafter, Continuations, Protocol):
    """A drafter that can also be asked place by place."""

    def locate(self, context: Sequence[int], num_tokens: int) -> Any:
        """The place after `context`, from which at most `num_tokens` will be drafted."""
        ...


@dataclass(frozen=True)
class Limits:
    """How far a draft may grow."""

    num_tokens: int
    max_depth: int
    min_path_confidence: float = 0.0
    """A node is drafted only if the product of confidences down to it is at least this."""


@dataclass
class Growth:
    """The nodes drafted so far, each with its own confidence."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)

    def add(self, parent: int, candidate: Candidate) -> int:
        token, confidence = candidate
        self.tokens.append(token)
        self.parents.append(parent)
        self.confidence.append(confidence)
        return len(self.tokens) - 1

    def draft(self, source: str) -> Draft:
        return Draft(self.tokens, self.parents, source, self.confidence) if self.tokens else NOTHING


def grow(continuations: Continuations, place: Any, shape: Shape, limits: Limits, *, source: str) -> Draft:
    """The draft that follows `place`; `NOTHING` if there is no candidate."""
    grown = _chain(continuations, place, limits) if shape == "chain" else _tree(continuations, place, limits)
    return grown.draft(source)


def followed(draft: Draft, tokens: Sequence[int]) -> list[int]:
    """The nodes of `draft`, from the root down, that `tokens` run along."""
    path: list[int] = []
    for token in tokens:
        node = child_of(draft, path[-1] if path else ROOT, token)
        if node is None:
            break
        path.append(node)
    return path


def child_of(tree: Draft | Growth, parent: int, token: int) -> int | None:
    """The node below `parent` that holds `token`, if there is one."""
    nodes = range(parent + 1, len(tree.tokens))
    return next((node for node in nodes if tree.parents[node] == parent and tree.tokens[node] == token), None)


def _chain(continuations: Continuations, place: Any, limits: Limits) -> Growth:
    growth, path_confidence = Growth(), 1.0
    for depth in range(min(limits.num_tokens, limits.max_depth)):
        candidates = continuations.candidates(place)
        if not candidates:
            break
        path_confidence *= candidates[0][1]
        if path_confidence < limits.min_path_confidence:
            break
        growth.add(depth - 1, candidates[0])
        place = continuations.after(place, candidates[0][0])
    return growth


def _tree(continuations: Continuations, place: Any, limits: Limits) -> Growth:
    """What waits to be drafted: minus its path's confidence, its turn (for ties), parent, candidate, the parent's place."""
    growth, waiting, turn = Growth(), [], 0
    depths: dict[int, int] = {ROOT: 0}
    node, path_confidence = ROOT, 1.0
    while len(growth.tokens) < limits.num_tokens:
        if depths[node] < limits.max_depth:
            for candidate in continuations.candidates(place):
                if path_confidence * candidate[1] >= limits.min_path_confidence:
                    turn += 1
                    heapq.heappush(waiting, (-path_confidence * candidate[1], turn, node, candidate, place))
        if not waiting:
            break
        negative, _, parent, candidate, parent_place = heapq.heappop(waiting)
        node, path_confidence = growth.add(parent, candidate), -negative
        depths[node] = depths[parent] + 1
        place = continuations.after(parent_place, candidate[0])
    return growth
