"""Several drafters as one: at every place of the draft, the member expected to be right speaks.

Members' confidences are made comparable by what the target made of earlier guesses of the same member with about the
same confidence; the draft grows where the corrected confidences are highest, as one trie or one chain. Guesses that
were not verified count too, as soon as the target's text decides them. Members that draft for next to nothing always
take part. Those with a cost (heads, draft models) are asked in order of expected accepted tokens per cost, and only if
they promise more tokens per cost than what is at hand. What is joined has no single law: it is verified without one.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from tenfold.nn.drafting import NOTHING, ROOT, Draft, Drafter, StateScope
from tenfold.systems.specdec.drafters.calibration import Calibration, confidence_class
from tenfold.systems.specdec.drafters.continuations import Candidate, GrowingDrafter, Limits, Shape, grow
from tenfold.systems.specdec.drafters.recycle import RecycleDrafter
from tenfold.systems.specdec.drafters.suffix import SuffixDrafter
from tenfold.systems.specdec.drafters.whole_draft import WholeDraft

SCOPES: Sequence[StateScope] = ("none", "request", "process", "corpus")
MAX_SIBLINGS = 5
"""Candidates taken of a member at one place of a tree, and drafted below one node."""
FIRST_EXPECTATION = 2.0
"""Accepted tokens expected of a costly member that was never asked: enough to be tried."""
SLOWNESS = 0.9
"""Weight of the old mean when a costly member's accepted tokens are averaged."""


@dataclass(frozen=True)
class Place:
    """Where each member stands (None: it was not asked), and the drafted tokens that lead there."""

    of_members: Sequence[Any]
    path: tuple[int, ...]


class Guess(NamedTuple):
    """A member's candidate, and what the calibration makes of it."""

    member: int
    kind: Hashable
    token: int
    confidence: float
    corrected: float


class HybridDrafter:
    """Joins `members`, by default suffix and recycle; `costs` names those that cost, in plain target passes per draft."""

    name = "hybrid"

    def __init__(
        self,
        members: Sequence[Drafter] | None = None,
        *,
        shape: Shape = "chain",
        costs: Mapping[str, float] | None = None,
        cold: bool = False,
        max_nodes: int = 16,
    ) -> None:
        members = (SuffixDrafter(), RecycleDrafter(cold=cold)) if members is None else members
        if not members or max_nodes < 1:
            raise ValueError(f"{len(members)} members and max_nodes {max_nodes} are given; we need at least 1 of each")
        self.members: Sequence[GrowingDrafter] = [m if isinstance(m, GrowingDrafter) else WholeDraft(m) for m in members]
        self.costs = [(costs or {}).get(member.name, 0.0) for member in members]
        self.shape: Shape = shape
        self.num_siblings = 1 if shape == "chain" else MAX_SIBLINGS
        self.cold, self.max_nodes = cold, max_nodes
        # What the calibration learns outlives the request, and so does the state, unless everything starts cold.
        own: StateScope = "request" if cold else "process"
        self.state: StateScope = max([own, *(member.state for member in members)], key=SCOPES.index)
        self._forget()

    def reset(self) -> None:
        if self.cold:
            self._forget()
        self.guesses.clear()
        for member in self.members:
            member.reset()

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        num_tokens = min(num_tokens, self.max_nodes)
        places = [
            None if cost else member.locate(context, num_tokens)
            for member, cost in zip(self.members, self.costs, strict=True)
        ]
        draft = self._grow(places, num_tokens)
        spent = 0.0
        for member in self._costly_in_order():
            cost = spent + self.costs[member]
            if (1 + self.expected[member]) * (1 + spent) > (1 + expected_accepted(draft)) * (1 + cost):
                places[member] = self.members[member].locate(context, num_tokens)
                draft, spent = self._grow(places, num_tokens), cost
        self.asked = [place is not None for place in places]
        return replace(draft, source=f"{self.name}:{self._leader(draft)}") if draft.tokens else NOTHING

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        """Judges every guess on the path that the text took, drafted or not; then the members learn."""
        accepted = [0] * len(self.members)
        for depth, token in enumerate(emitted):
            for guess in self.guesses.get(tuple(emitted[:depth]), ()):
                self.calibration.note(guess.kind, guess.confidence, guess.token == token)
                accepted[guess.member] += guess.token == token
        self._note_expectations(accepted)
        self.guesses.clear()
        for member in self.members:
            member.observe(emitted, logits_KV, draft)

    def candidates(self, place: Place) -> Sequence[Candidate]:
        """Each token with the highest corrected confidence that some member gives it."""
        guesses: list[Guess] = []
        for index, member_place in enumerate(place.of_members):
            if member_place is not None:
                guesses += self._guesses(index, self.members[index].candidates(member_place)[: self.num_siblings])
        self.guesses[place.path] = guesses
        best: dict[int, float] = {}
        for guess in guesses:
            best[guess.token] = max(best.get(guess.token, 0.0), guess.corrected)
        return sorted(best.items(), key=lambda candidate: -candidate[1])[: self.num_siblings]

    def after(self, place: Place, token: int) -> Place:
        members = zip(self.members, place.of_members, strict=True)
        return Place([None if at is None else member.after(at, token) for member, at in members], (*place.path, token))

    def _guesses(self, member: int, candidates: Sequence[Candidate]) -> Iterator[Guess]:
        for token, confidence in candidates:
            kind = member, confidence_class(confidence)
            yield Guess(member, kind, token, confidence, self.calibration(kind, confidence))

    def _forget(self) -> None:
        self.calibration = Calibration()
        self.expected = [FIRST_EXPECTATION] * len(self.members)
        self.guesses: dict[tuple[int, ...], list[Guess]] = {}
        self.asked = [False] * len(self.members)

    def _grow(self, places: Sequence[Any], num_tokens: int) -> Draft:
        self.guesses.clear()
        return grow(self, Place(tuple(places), ()), self.shape, Limits(num_tokens, num_tokens), source=self.name)

    def _leader(self, draft: Draft) -> str:
        """The member that was surest of the first token."""
        guesses = [guess for guess in self.guesses[()] if guess.token == draft.tokens[0]]
        return self.members[max(guesses, key=lambda guess: guess.corrected).member].name

    def _costly_in_order(self) -> list[int]:
        costly = [member for member, cost in enumerate(self.costs) if cost]
        return sorted(costly, key=lambda member: -self.expected[member] / self.costs[member])

    def _note_expectations(self, accepted: Sequence[int]) -> None:
        for member, cost in enumerate(self.costs):
            if cost and self.asked[member]:
                self.expected[member] = SLOWNESS * self.expected[member] + (1 - SLOWNESS) * accepted[member]


def expected_accepted(draft: Draft) -> float:
    """How many tokens of a draft should be accepted if its confidences are right: the sum of its paths' products."""
    reached: list[float] = []
    for parent, confidence in zip(draft.parents, draft.confidence, strict=True):
        reached.append(confidence * (1.0 if parent == ROOT else reached[parent]))
    return sum(reached)
