"""What an audit looks at: multiple-choice items without their pictures or passages, laid out for fast scoring.

`Deck` holds each distinct option text once, so that a probe measures a text once and equal texts always tie.
"""

# N items, K options of the longest item, U distinct option texts
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Made = TypeVar("Made")
NO_OPTION = -1
TIE = 1e-9


@dataclass(frozen=True)
class AuditItem:
    """One question as a blind rule sees it."""

    id: str
    block: str
    """Items of one block are resampled together and never split between training and testing."""
    options: Sequence[str]
    gold: int
    """The place of the right option."""
    question: str = ""


class Deck:
    """Items with their option texts numbered.

    Attributes:
        texts: the U distinct option texts.
        ids_NK: which text each option is; -1 where an item has fewer options.
        exists_NK: whether there is an option.
        gold_N, text_gold_N: the place of the right option, and its text.
    """

    def __init__(self, items: Sequence[AuditItem]) -> None:
        _check(items)
        self.items = list(items)
        self.gold_N = np.array([item.gold for item in items])
        number: dict[str, int] = {}
        self.ids_NK = np.full((len(items), max(len(item.options) for item in items)), NO_OPTION)
        for row, item in enumerate(items):
            self.ids_NK[row, : len(item.options)] = [number.setdefault(text, len(number)) for text in item.options]
        self.texts = list(number)
        self.exists_NK = self.ids_NK != NO_OPTION
        self.text_gold_N = self.ids_NK[np.arange(len(items)), self.gold_N]
        self._kept: dict[str, object] = {}

    def measured(self, measure: Callable[[str], float]) -> Floats:
        """(N, K) the measure of each option."""
        return self.spread([measure(text) for text in self.texts])

    def spread(self, values_U: ArrayLike) -> Floats:
        """(N, K) from one value per distinct text; what is no option is -inf."""
        values_NK = np.asarray(values_U, dtype=np.float64)[self.ids_NK]
        return np.where(self.exists_NK, values_NK, -np.inf)

    def kept(self, name: str, make: Callable[[Sequence[str]], Made]) -> Made:
        """What `make` builds from the distinct texts, built once under this name and shared between probes."""
        if name not in self._kept:
            self._kept[name] = make(self.texts)
        return self._kept[name]  # pyright: ignore[reportReturnType]

    def points(self, scores_NK: Floats) -> Floats:
        """(N,) the point of each item: 1 if the right option scores highest, shared among those that tie for it."""
        best_N1 = scores_NK.max(axis=1, keepdims=True)
        wins_NK = (scores_NK >= best_N1 - TIE * np.maximum(1.0, np.abs(best_N1))) & self.exists_NK
        return wins_NK[np.arange(len(self.items)), self.gold_N] / wins_NK.sum(axis=1)


def _check(items: Iterable[AuditItem]) -> None:
    empty = True
    for item in items:
        empty = False
        if len(item.options) < 2 or not 0 <= item.gold < len(item.options):
            raise ValueError(
                f"item {item.id!r} has {len(item.options)} options and gold {item.gold}; "
                "give two or more options, and the place of the right one counted from 0"
            )
    if empty:
        raise ValueError("there are no items to audit; give at least one")
