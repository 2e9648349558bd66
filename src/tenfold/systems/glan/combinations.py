"""Combinations of key concepts as numbers, without ever listing them: rank, unrank and a keyed order.

A combination takes 1 or 2 sessions of a syllabus and 1 to 5 of their concepts (GLAN, section 2.4). With two sessions, both
are touched. For sessions of m and n concepts and k chosen ones there are

    one session    C(m, k)                                    m = 5:       31 in all
    two sessions   sum over a = 1..k-1 of C(m, a) C(n, k-a)   m = n = 5:  575 in all (25, 100, 200, 250)

A `Stratum` is the set for given sessions and k; its members are numbered from 0.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb

MOST_CONCEPTS = 5
ROUNDS = 4


@dataclass(frozen=True)
class Combination:
    """Chosen concepts as sorted (session, concept) places; both count from 0."""

    concepts: tuple[tuple[int, int], ...]

    @property
    def sessions(self) -> tuple[int, ...]:
        """The sessions touched, in order."""
        return tuple(sorted({session for session, _ in self.concepts}))


@dataclass(frozen=True)
class Stratum:
    """All combinations of k concepts that touch exactly these sessions."""

    sessions: tuple[int, ...]
    """One or two, in order."""
    sizes: tuple[int, ...]
    """Number of concepts of each of these sessions."""
    num_concepts: int

    @cached_property
    def parts(self) -> tuple[tuple[int, ...], ...]:
        """How many concepts come from each session; the ways in which `num_concepts` can be split."""
        k = self.num_concepts
        splits = ((k,),) if len(self.sizes) == 1 else tuple((a, k - a) for a in range(1, k))
        return tuple(split for split in splits if all(a <= m for a, m in zip(split, self.sizes, strict=True)))

    @cached_property
    def size(self) -> int:
        """Number of combinations."""
        return sum(self._block(split) for split in self.parts)

    def unrank(self, number: int) -> Combination:
        """The combination of this number, 0 <= number < size."""
        assert 0 <= number < self.size, (number, self.size)
        split, number = self._split_of(number)
        places: list[tuple[int, int]] = []
        for session, m, k in reversed(list(zip(self.sessions, self.sizes, split, strict=True))):
            number, rest = divmod(number, comb(m, k))
            places += [(session, concept) for concept in unrank_subset(rest, m, k)]
        return Combination(tuple(sorted(places)))

    def rank(self, combination: Combination) -> int:
        """The number of a combination of this stratum."""
        chosen = [[c for s, c in combination.concepts if s == session] for session in self.sessions]
        split = tuple(map(len, chosen))
        number = 0
        for concepts, m in zip(chosen, self.sizes, strict=True):
            number = number * comb(m, len(concepts)) + rank_subset(concepts, m)
        return number + sum(self._block(earlier) for earlier in self.parts[: self.parts.index(split)])

    def _split_of(self, number: int) -> tuple[tuple[int, ...], int]:
        """The split into whose block the number falls, and its place there."""
        for split in self.parts:
            if number < self._block(split):
                return split, number
            number -= self._block(split)
        raise AssertionError(number)

    def _block(self, split: tuple[int, ...]) -> int:
        product = 1
        for m, k in zip(self.sizes, split, strict=True):
            product *= comb(m, k)
        return product


def unrank_subset(number: int, m: int, k: int) -> list[int]:
    """The subset of k out of m that has this number in lexicographic order."""
    chosen: list[int] = []
    place = 0
    while k:
        with_place = comb(m - place - 1, k - 1)
        if number < with_place:
            chosen.append(place)
            k -= 1
        else:
            number -= with_place
        place += 1
    return chosen


def rank_subset(chosen: Sequence[int], m: int) -> int:
    """The number of a sorted subset of range(m) in lexicographic order; undoes `unrank_subset`."""
    number, before, k = 0, -1, len(chosen)
    for index, place in enumerate(chosen):
        number += sum(comb(m - skipped - 1, k - index - 1) for skipped in range(before + 1, place))
        before = place
    return number


def strata(sizes: Sequence[int], num_sessions: int) -> Iterator[Stratum]:
    """All strata of a syllabus with `sizes[i]` concepts in session i that are not empty, in order."""
    for sessions in combinations(range(len(sizes)), num_sessions):
        for k in range(num_sessions, MOST_CONCEPTS + 1):
            stratum = Stratum(sessions, tuple(sizes[s] for s in sessions), k)
            if stratum.size:
                yield stratum


def count(sizes: Sequence[int], num_sessions: int) -> int:
    """Number of combinations of a syllabus that touch exactly so many sessions."""
    return sum(stratum.size for stratum in strata(sizes, num_sessions))


def permuted(number: int, size: int, key: str) -> int:
    """A bijection of range(size) that the key chooses: a Feistel network, walked until it falls inside the range."""
    assert 0 <= number < size, (number, size)
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    while True:
        number = _feistel(number, half_bits, key)
        if number < size:
            return number


def _feistel(number: int, half_bits: int, key: str) -> int:
    mask = (1 << half_bits) - 1
    left, right = number >> half_bits, number & mask
    for round_number in range(ROUNDS):
        left, right = right, left ^ (_mixed(key, round_number, right) & mask)
    return left << half_bits | right


def _mixed(key: str, round_number: int, value: int) -> int:
    text = f"{key}/{round_number}/{value}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=32).digest(), "big")
