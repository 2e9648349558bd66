"""Which sessions and key concepts each question of a syllabus is about: exact, and never the same combination twice.

    uniform   over all combinations of the strategy; most have four or five concepts
    by_size   numbers of concepts in turn; within each, uniform
    cover     least used sessions first, numbers of concepts in turn, then the combination of least used concepts

A stream of draws is fixed by the sizes of the sessions and a key, so draw q is the same whenever it is made, and a longer
stream begins with the shorter one. The first `reserved` draws are for a held-out test; use counts begin anew after them,
but no combination comes back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import floor
from typing import Literal

from tenfold.core.errors import UserError
from tenfold.systems.glan.combinations import MOST_CONCEPTS, Combination, Stratum, permuted, strata
from tenfold.systems.glan.covering import Use, cover

Mode = Literal["cover", "by_size", "uniform"]
Strategy = Literal["one session", "two sessions"]
NUM_SESSIONS: dict[Strategy, int] = {"one session": 1, "two sessions": 2}


@dataclass(frozen=True)
class Draw:
    """One question's concepts. `index` counts over the whole stream, reserved draws included."""

    index: int
    strategy: Strategy
    combination: Combination


def draws(sizes: Sequence[int], key: str, *, mode: Mode = "cover", mix: float = 0.5, reserved: int = 0) -> Iterator[Draw]:
    """The stream of draws of a syllabus with `sizes[i]` concepts in session i, until no combination is left.

    `mix` is the share of draws from two sessions; where one strategy is used up, the other goes on alone, unless its
    share is zero.
    """
    use = Use(sizes, key)
    streams: dict[Strategy, Iterator[Combination]] = {
        strategy: _stream(sizes, strategy, key, mode, use) for strategy in NUM_SESSIONS
    }
    for index, turn in enumerate(_turns(mix)):
        if index == reserved:
            use.restart()
        drawn = _first(streams, turn, mix)
        if drawn is None:
            return
        yield Draw(index, *drawn)


def take(
    sizes: Sequence[int], key: str, number: int, *, mode: Mode = "cover", mix: float = 0.5, reserved: int = 0
) -> list[Draw]:
    """The first `number` draws after the reserved ones; fewer where the syllabus has no more combinations."""
    return list(islice(draws(sizes, key, mode=mode, mix=mix, reserved=reserved), reserved, reserved + number))


def check_mix(mix: float) -> float:
    """Returns `mix`, or raises UserError where it is no share."""
    if not 0 <= mix <= 1:
        raise UserError(f"mix is {mix}; it is the share of questions from two sessions: give 0 to 1")
    return mix


def _turns(mix: float) -> Iterator[Strategy]:
    """Strategies in turn, so that after n turns round(n * mix) or so had two sessions."""
    check_mix(mix)
    turn = 0
    while True:
        yield "two sessions" if floor((turn + 1) * mix) > floor(turn * mix) else "one session"
        turn += 1


def _first(
    streams: dict[Strategy, Iterator[Combination]], turn: Strategy, mix: float
) -> tuple[Strategy, Combination] | None:
    other: Strategy = "one session" if turn == "two sessions" else "two sessions"
    for strategy in (turn, other) if 0 < mix < 1 else (turn,):
        combination = next(streams[strategy], None)
        if combination is not None:
            return strategy, combination
    return None


def _stream(sizes: Sequence[int], strategy: Strategy, key: str, mode: Mode, use: Use) -> Iterator[Combination]:
    own = list(strata(sizes, NUM_SESSIONS[strategy]))
    if mode == "cover":
        return cover(own, use)
    return (_uniform if mode == "uniform" else _by_size)(own, f"{key}/{strategy}")


def _uniform(own: Sequence[Stratum], key: str) -> Iterator[Combination]:
    size = sum(stratum.size for stratum in own)
    for number in range(size):
        yield _numbered(own, permuted(number, size, key))


def _by_size(own: Sequence[Stratum], key: str) -> Iterator[Combination]:
    groups = [[stratum for stratum in own if stratum.num_concepts == k] for k in range(1, MOST_CONCEPTS + 1)]
    left = [_uniform(group, f"{key}/{k}") for k, group in enumerate(groups, 1) if group]
    while left:
        for stream in list(left):
            combination = next(stream, None)
            if combination is None:
                left.remove(stream)
            else:
                yield combination


def _numbered(own: Sequence[Stratum], number: int) -> Combination:
    for stratum in own:
        if number < stratum.size:
            return stratum.unrank(number)
        number -= stratum.size
    raise AssertionError(number)
