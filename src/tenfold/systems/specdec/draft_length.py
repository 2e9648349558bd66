"""How many of the drafted tokens to check: a fixed number, or the number that gives the most tokens per millisecond.

For acceptance a_j at position j and pass times T, checking k tokens emits 1 + sum_{i<=k} prod_{j<=i} a_j tokens in
T(k + 1) milliseconds (survey, section 5; the drafts here cost next to nothing). In a tree the product runs down the path
to a node, and the first k nodes are the k likeliest, since a tree grows likeliest node first. The controller learns a_j
per source of drafts and position, or, where a drafter says how sure it is of each token, per source and confidence.

It keeps an account against plain decoding: it is never slower by more than the debt that we allow. It reckons with the
cost model, never with a clock, so that the same prompt and seed give the same rounds.
"""

# k drafted tokens; a_j acceptance at position j
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Protocol

from pydantic import Field

from tenfold.nn.drafting import NOTHING, ROOT, Draft
from tenfold.nn.models import LoadedModel
from tenfold.systems.specdec.cost_model import CostModel, load_or_calibrate
from tenfold.systems.specdec.drafters.calibration import confidence_class
from tenfold.systems.specdec.rounds import Round

DISCOUNT = 0.98
"""Weight of an observation after one more of its kind: the last fifty or so count."""
PRIOR_TRIES = 2.0
PRIOR_ACCEPTANCE = 0.6
ALLOWED_DEBT = 0.02
"""Share of plain decoding's time that speculation may be behind before it is switched off."""
FREE_DEBT_PASSES = 2.0
"""Debt in plain passes that is always allowed: without it the first rejected draft would end everything."""
AUTO: Literal["auto"] = "auto"
NumDraft = Literal["auto"] | Annotated[int, Field(ge=1)]
FIRST_PAUSE, LONGEST_PAUSE = 8, 64
Kind = tuple[str, str, int]
"""Source of a token, what it is known by (position or confidence), and which."""


class DraftLength(Protocol):
    """Decides per round how much to draft and how much of the draft to check."""

    @property
    def most(self) -> int:
        """Never more than this many tokens."""
        ...

    def trim(self, draft: Draft, length: int) -> Draft:
        """What of a draft to check, `length` tokens being cached."""
        ...

    def observe(self, step: Round, length: int, accepted: Sequence[int]) -> None:
        """Learns from a finished round, of whose draft the nodes `accepted` were emitted, from the root down."""
        ...


@dataclass(frozen=True)
class FixedLength:
    """Always checks up to `most` tokens."""

    most: int

    def trim(self, draft: Draft, length: int) -> Draft:
        return draft

    def observe(self, step: Round, length: int, accepted: Sequence[int]) -> None:
        """A fixed length learns nothing."""


@dataclass(frozen=True)
class Choice:
    """One candidate number of tokens to check, with what it promises."""

    num_tokens: int
    expected_tokens: float
    milliseconds: float

    @property
    def tokens_per_ms(self) -> float:
        return self.expected_tokens / self.milliseconds


class Controller:
    """The automatic length of chains and size of trees."""

    def __init__(self, costs: CostModel) -> None:
        self.costs = costs
        self.most = costs.most_tokens - 1
        self.seen: dict[Kind, tuple[float, float]] = {}
        """Per kind of token: how many were judged and how many kept, the older ones discounted."""
        self.checked = NOTHING
        self.debt_ms, self.plain_ms = 0.0, 0.0
        self.pause, self.paused_rounds = 0, 0

    def trim(self, draft: Draft, length: int) -> Draft:
        self.checked = draft
        if not draft.tokens:
            return draft
        if self.paused_rounds > 0:
            self.paused_rounds -= 1
            self.checked = NOTHING
        else:
            best = max(self.choices(draft, length), key=lambda choice: choice.tokens_per_ms)
            self.checked = first_tokens(draft, best.num_tokens)
        return self.checked

    def choices(self, draft: Draft, length: int) -> list[Choice]:
        """Every number of tokens of `draft` that could be checked, 0 (plain) included."""
        survival: list[float] = []
        for (kind, prior), parent in zip(kinds_of(draft), draft.parents, strict=True):
            survival.append(self._acceptance(kind, prior) * (1.0 if parent == ROOT else survival[parent]))
        return [
            Choice(num_tokens, 1 + sum(survival[:num_tokens]), self.costs.pass_ms(num_tokens + 1, length))
            for num_tokens in range(min(len(draft.tokens), self.most) + 1)
        ]

    def acceptance(self, source: str, position: int) -> float:
        """The current estimate of a_j for drafts that say nothing about their tokens."""
        return self._acceptance((source, "position", position), PRIOR_ACCEPTANCE)

    def observe(self, step: Round, length: int, accepted: Sequence[int]) -> None:
        """A node was judged if its parent was accepted: by then it was right or wrong."""
        is_checked = self.checked.source == step.source and len(self.checked.tokens) == step.num_drafted
        draft = self.checked if is_checked else Draft.chain([0] * step.num_drafted, step.source)
        for node, ((kind, _), parent) in enumerate(zip(kinds_of(draft), draft.parents, strict=True)):
            if parent == ROOT or parent in accepted:
                judged, kept = self.seen.get(kind, (0.0, 0.0))
                self.seen[kind] = judged * DISCOUNT + 1, kept * DISCOUNT + (node in accepted)
        self._account(step, length)

    def _acceptance(self, kind: Kind, prior: float) -> float:
        judged, kept = self.seen.get(kind, (0.0, 0.0))
        return (kept + PRIOR_TRIES * prior) / (judged + PRIOR_TRIES)

    def _account(self, step: Round, length: int) -> None:
        """Books the round against plain decoding; a debt beyond what is allowed pauses drafting, longer each time."""
        plain_ms = step.num_emitted * self.costs.pass_ms(1, length)
        checked_ms = self.costs.pass_ms(step.num_drafted + 1, length)
        self.plain_ms += plain_ms
        self.debt_ms = max(self.debt_ms + checked_ms - plain_ms, -FREE_DEBT_PASSES * self.costs.pass_ms(1, length))
        allowed = ALLOWED_DEBT * self.plain_ms + FREE_DEBT_PASSES * self.costs.pass_ms(1, length)
        if self.debt_ms > allowed and self.paused_rounds == 0:
            self.pause = min(max(2 * self.pause, FIRST_PAUSE), LONGEST_PAUSE)
            self.paused_rounds = self.pause


def draft_length_for(num_draft: NumDraft, loaded: LoadedModel) -> DraftLength:
    """A fixed length for a number; for `auto` a controller over the costs of this engine on this machine."""
    return FixedLength(num_draft) if num_draft != AUTO else Controller(load_or_calibrate(loaded))


def kinds_of(draft: Draft) -> list[tuple[Kind, float]]:
    """For each token the kind by which its acceptance is learned, and a first guess at it.

    The confidence of a token that was drawn from a law must not decide whether it is checked: to spare the unlikely ones
    would bend the law of the text.
    """
    if draft.law_nV is not None or not draft.confidence:
        return [((draft.source, "position", depth), PRIOR_ACCEPTANCE) for depth in draft.depths]
    return [((draft.source, "confidence", confidence_class(sure)), sure) for sure in draft.confidence]


def first_tokens(draft: Draft, num_tokens: int) -> Draft:
    """The first `num_tokens` of a draft: of a tree too, since parents stand before their children."""
    if num_tokens == 0:
        return NOTHING
    law_nV = None if draft.law_nV is None else draft.law_nV[:num_tokens]
    tokens: Sequence[int] = draft.tokens[:num_tokens]
    return replace(
        draft, tokens=tokens, parents=draft.parents[:num_tokens], confidence=draft.confidence[:num_tokens], law_nV=law_nV
    )
