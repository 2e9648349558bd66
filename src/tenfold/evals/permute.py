"""Circular scoring: a question is asked once for each rotation of its options, and the answers are mapped back.

A rotation is a tuple: the option shown at place p is the original option `rotation[p]`. An answer is the place of the
chosen option, or None where the reply named none; the chosen options below are originals, after `map_back`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

Option = TypeVar("Option")
Rotation = tuple[int, ...]


def rotations(n: int) -> list[Rotation]:
    """The n rotations of n options, the unchanged order first.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"got {n} options; a question needs at least one")
    return [tuple((place + shift) % n for place in range(n)) for shift in range(n)]


def arrange(options: Sequence[Option], rotation: Rotation) -> list[Option]:
    """The options in the order in which the rotation shows them."""
    return [options[original] for original in rotation]


def map_back(place: int | None, rotation: Rotation) -> int | None:
    """The original option behind the place that was chosen; None stays None."""
    return None if place is None else rotation[place]


def restore(shown: Sequence[Option], rotation: Rotation) -> list[Option]:
    """Values given in the order shown (such as log-probabilities), back in the original order."""
    return [value for _, value in sorted(zip(rotation, shown, strict=True), key=lambda pair: pair[0])]


def circular_mean(chosen: Sequence[int | None], gold: int) -> float:
    """The share of rotations answered rightly; ValueError if none was asked."""
    return sum(option == gold for option in _asked(chosen)) / len(chosen)


def circular_strict(chosen: Sequence[int | None], gold: int) -> float:
    """1 where every rotation is answered rightly, else 0; ValueError if none was asked."""
    return float(all(option == gold for option in _asked(chosen)))


def circular_vote(chosen: Sequence[int | None]) -> int | None:
    """The option chosen most often; None where none was chosen or two share the first place."""
    ranked = Counter(option for option in chosen if option is not None).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _asked(chosen: Sequence[int | None]) -> Sequence[int | None]:
    if not chosen:
        raise ValueError("no rotation was asked, so there is nothing to score; leave the question out")
    return chosen
