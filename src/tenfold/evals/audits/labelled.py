"""What a pairwise audit looks at: texts with a yes/no label, in pairs of one yes and one no, in blocks.

A pair that differs in one small thing tests best; a probe that orders pairs rightly has found a giveaway of the wording.
"""

# N texts, C comparisons, U distinct texts
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Made = TypeVar("Made")
TIE = 1e-9


@dataclass(frozen=True)
class LabelledText:
    """One text and its label; texts of one block are never split between training and testing."""

    id: str
    pair: str
    block: str
    text: str
    label: bool


class TextDeck:
    """Labelled texts, each distinct text once.

    Attributes:
        texts: the U distinct texts.
        ids_N: which of them each labelled text is.
        label_N: the labels.
        yes_C, no_C: the two sides of every comparison: a yes and a no of the same pair.
    """

    def __init__(self, labelled: Sequence[LabelledText]) -> None:
        self.labelled = list(labelled)
        number: dict[str, int] = {}
        self.ids_N = np.array([number.setdefault(item.text, len(number)) for item in labelled], dtype=np.intp)
        self.texts = list(number)
        self.label_N = np.array([item.label for item in labelled], dtype=bool)
        self.yes_C, self.no_C = _comparisons(labelled)
        self._kept: dict[str, object] = {}

    def kept(self, name: str, make: Callable[[Sequence[str]], Made]) -> Made:
        """What `make` builds from the distinct texts, built once under this name."""
        if name not in self._kept:
            self._kept[name] = make(self.texts)
        return self._kept[name]  # pyright: ignore[reportReturnType]

    def classes(self, part_N: Mask) -> tuple[Floats, Floats]:
        """(U,) how often each distinct text occurs in this part as a yes, and as a no."""
        yes_U = np.bincount(self.ids_N[part_N & self.label_N], minlength=len(self.texts))
        no_U = np.bincount(self.ids_N[part_N & ~self.label_N], minlength=len(self.texts))
        return yes_U.astype(np.float64), no_U.astype(np.float64)

    def label_points(self, scores_N: Floats) -> Floats:
        """(N,) 1 where a score above 0 goes with a yes and one below with a no; half at 0."""
        return _points(np.where(self.label_N, scores_N, -scores_N))

    def pair_points(self, scores_N: Floats, *, tie: float = 0.5) -> Floats:
        """(C,) 1 where the yes scores higher than the no of its pair, `tie` where they are equal."""
        return _points(scores_N[self.yes_C] - scores_N[self.no_C], tie)


def _points(lead: Floats, tie: float = 0.5) -> Floats:
    return np.where(np.abs(lead) <= TIE, tie, (lead > 0).astype(np.float64))


def _comparisons(labelled: Sequence[LabelledText]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    sides: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for row, item in enumerate(labelled):
        sides[item.pair][item.label].append(row)
    both = [(yes, no) for all_no, all_yes in sides.values() for yes in all_yes for no in all_no]
    if not both:
        raise ValueError(
            f"none of the {len(sides)} pairs has a text of each label; give both sides of a pair the same pair id"
        )
    yes_C, no_C = np.array(both, dtype=np.intp).T
    return yes_C, no_C
