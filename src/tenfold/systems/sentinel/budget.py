"""Which sentinels go when there are more than fit. Decided entry by entry, so that whole texts and decoding agree.

    recency    the oldest goes                         score      the one with the lowest given score
    hierarchy  first those of finished paragraphs      attention  the one that received least attention so far

What goes is written down as `until`: the order of the first entry that cannot see it any more. `undo` goes back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tenfold.core.errors import ConfigError
from tenfold.systems.sentinel.layout import Layout
from tenfold.systems.sentinel.rules import NEVER
from tenfold.systems.sentinel.settings import Policy


@dataclass(frozen=True)
class Held:
    """A sentinel that is visible."""

    order: int
    ordinal: int
    """Its number among the text's sentinels."""
    level: int
    g: int


@dataclass
class Budget:
    """The sentinels of one text. `most` None: all stay."""

    most: int | None
    policy: Policy = "recency"
    scores: Mapping[int, float] = field(default_factory=dict)
    """For policy score: by the sentinel's number in the text; others count as 0."""
    held: list[Held] = field(default_factory=list)
    dropped: list[tuple[int, Held]] = field(default_factory=list)
    """(until, sentinel), in the order of their going."""
    attention: dict[int, float] = field(default_factory=dict)
    """For policy attention: what each sentinel received so far, by its order."""
    count: int = 0

    def add(self, order: int, level: int, g: int) -> list[int]:
        """A new sentinel comes; returns the orders of those that go, from this order on."""
        self.held.append(Held(order, self.count, level, g))
        self.count += 1
        gone = []
        while self.most is not None and len(self.held) > self.most:
            victim = min(self.held[:-1] or self.held, key=self._worth)
            self.held.remove(victim)
            self.dropped.append((order + (victim.order == order), victim))
            gone.append(victim.order)
        return gone

    def undo(self, order: int) -> list[int]:
        """Forgets all that came from `order` on; returns the orders of those that are visible again."""
        back = []
        while self.dropped and self.dropped[-1][0] >= order:
            _, victim = self.dropped.pop()
            back.append(victim)
        everything = sorted([*self.held, *back], key=lambda held: held.order)
        self.held = [held for held in everything if held.order < order]
        self.count -= len(everything) - len(self.held)
        return [held.order for held in back if held.order < order]

    def until(self, order: int) -> int:
        """From which order on the sentinel at `order` is not visible."""
        return next((until for until, held in self.dropped if held.order == order), NEVER)

    def observe(self, attention: Mapping[int, float]) -> None:
        """Adds what sentinels received in a pass, by their orders."""
        for order, mass in attention.items():
            self.attention[order] = self.attention.get(order, 0.0) + mass

    def _worth(self, held: Held) -> tuple[float, ...]:
        """The sentinel with the lowest goes first."""
        if self.policy == "score":
            return self.scores.get(held.ordinal, 0.0), held.order
        if self.policy == "attention":
            return self.attention.get(held.order, 0.0), held.order
        if self.policy == "hierarchy":
            newest = self.held[-1].g
            return float(not (held.level == 1 and held.g < newest)), held.order
        return (held.order,)


def drop_list(layout: Layout, budget: Budget, *, kept: Sequence[bool] | None = None) -> list[int]:
    """For every entry of a whole text the order from which on it is not kept; for policies that need no attention.

    Raises:
        ConfigError: the policy goes by attention, which only decoding knows.
    """
    if budget.policy == "attention":
        raise ConfigError("policy attention depends on what was read when; take the drop list of the decoding itself")
    budget = replace(budget, held=[], dropped=[], count=0)
    marks = [level > 0 for level in layout.level] if kept is None else kept
    for order, is_kept in enumerate(marks):
        if is_kept:
            budget.add(order, layout.level[order], layout.g[order])
    untils = {held.order: until for until, held in budget.dropped}
    return [untils.get(order, NEVER) for order in range(len(layout))]
