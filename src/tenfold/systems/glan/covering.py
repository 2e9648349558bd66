"""Draws that reach every session and concept as early as they can; exact, without listing combinations.

Of the sessions the least used come first, then numbers of concepts in turn, then, among the undrawn combinations of these,
one of the smallest total use of concepts. That one is found by walking subsets in order of their total use from the
smallest on, so the cost follows the number of draws made and not the number of combinations.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import combinations

from tenfold.systems.glan.combinations import Combination, Stratum

Place = tuple[int, int]


class Use:
    """How often each session and concept of a syllabus has been drawn; both strategies count together."""

    def __init__(self, sizes: Sequence[int], key: str) -> None:
        self.sizes, self.key = tuple(sizes), key
        self.order = {place: _hashed(key, place) for place in _places(sizes)}
        """What decides between concepts, or sessions, that are used equally."""
        self.restart()

    def restart(self) -> None:
        """Forgets all use."""
        self.sessions: Counter[int] = Counter()
        self.concepts: Counter[Place] = Counter()

    def add(self, combination: Combination) -> None:
        """Counts a draw."""
        self.sessions.update(combination.sessions)
        self.concepts.update(combination.concepts)

    def sessions_by_use(self) -> list[int]:
        """Sessions that have concepts: the least used first, then those with the most unused concepts."""
        return sorted((s for s, m in enumerate(self.sizes) if m), key=self._session_rank)

    def _session_rank(self, session: int) -> tuple[int, int, int]:
        unused = sum(self.concepts[session, concept] == 0 for concept in range(self.sizes[session]))
        return self.sessions[session], -unused, self.order[session, 0]

    def concept_rank(self, place: Place) -> tuple[int, int]:
        """Sorts concepts: the least used first."""
        return self.concepts[place], self.order[place]


def cover(own: Sequence[Stratum], use: Use) -> Iterator[Combination]:
    """Draws from the strata of one strategy until all are used up; `use` is read and counted."""
    left = {(stratum.sessions, stratum.num_concepts): stratum.size for stratum in own}
    numbers = sorted({stratum.num_concepts for stratum in own})
    drawn: set[Combination] = set()
    turn = 0
    while any(left.values()):
        sessions, k = _next_stratum(left, use, numbers[turn % len(numbers) :] + numbers[: turn % len(numbers)])
        combination = _least_used(sessions, k, use, drawn)
        left[sessions, k] -= 1
        drawn.add(combination)
        use.add(combination)
        turn += 1
        yield combination


def _next_stratum(
    left: dict[tuple[tuple[int, ...], int], int], use: Use, numbers: Sequence[int]
) -> tuple[tuple[int, ...], int]:
    """The least used sessions that still have a combination, and the first number of concepts that is not used up."""
    num_sessions = len(next(iter(left))[0])
    for chosen in combinations(use.sessions_by_use(), num_sessions):
        sessions = tuple(sorted(chosen))
        for k in numbers:
            if left.get((sessions, k)):
                return sessions, k
    raise AssertionError(left)


def _least_used(sessions: tuple[int, ...], k: int, use: Use, drawn: set[Combination]) -> Combination:
    places = [(session, concept) for session in sessions for concept in range(use.sizes[session])]
    places.sort(key=use.concept_rank)
    for subset in subsets_by_sum([use.concepts[place] for place in places], k):
        combination = Combination(tuple(sorted(places[index] for index in subset)))
        if combination.sessions == sessions and combination not in drawn:
            return combination
    raise AssertionError((sessions, k))


def subsets_by_sum(weights: Sequence[int], k: int) -> Iterator[tuple[int, ...]]:
    """Subsets of k indexes of ascending weights, by their sum from the smallest on; ties by the indexes."""
    first = tuple(range(k))
    heap = [(sum(weights[:k]), first)]
    seen = {first}
    while heap:
        total, subset = heappop(heap)
        yield subset
        for place, index in enumerate(subset):
            following = subset[place + 1] if place + 1 < k else len(weights)
            moved = (*subset[:place], index + 1, *subset[place + 1 :])
            if index + 1 < following and moved not in seen:
                seen.add(moved)
                heappush(heap, (total - weights[index] + weights[index + 1], moved))


def _places(sizes: Sequence[int]) -> Iterator[Place]:
    return ((session, concept) for session, m in enumerate(sizes) for concept in range(m))


def _hashed(key: str, place: Place) -> int:
    return int.from_bytes(hashlib.blake2b(f"{key}/{place}".encode(), digest_size=8).digest(), "big")
