"""Entries on their way through the engine, and what a cache is told to keep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tenfold.systems.sentinel.segments import Entry, State

Wanted = Literal["last", "all"]
"""Whose logits are asked for: the last token's, or every token's."""


@dataclass(frozen=True)
class Keeping:
    """What a cache keeps besides what the rule's window shows."""

    most: int | None = None
    """Sentinels (or separators) at a time; None: all."""
    scores: Mapping[int, float] | None = None
    """For policy score."""
    marks: Callable[[int], bool] | None = None
    """Original tokens that are kept as sentinels are (the separator rule)."""


@dataclass(frozen=True)
class Item:
    """An entry on its way through the engine."""

    entry: Entry
    order: int
    before: State
    """Before its token."""
    is_last: bool
    """Whether it ends its token's group, so that its logits predict the next token."""

    @property
    def is_sentinel(self) -> bool:
        return self.entry.level > 0


def ids_of(piece: Sequence[Item]) -> list[int]:
    """The token ids."""
    return [item.entry.id for item in piece]


def wants(piece: Sequence[Item], width: int, wanted: Wanted, is_end: bool) -> list[bool]:
    """Which entries' logits a pass of this width is asked for."""
    marks = (
        [item.is_last for item in piece] if wanted == "all" else [is_end and k == len(piece) - 1 for k in range(len(piece))]
    )
    return [*marks, *[False] * (width - len(piece))]
