"""A suffix automaton that grows with its text: every string of tokens that occurs leads to one state.

A state stands for all strings that end at the same places; it knows how long its longest string is, how often it
occurred and where last. Appending a token takes constant time on average (Blumer et al., "The smallest automaton
recognizing the subwords of a text", 1985). Counts and places are refreshed along at most `MAX_LINKS` suffix links a
token, because the links of a text like "a a a a" are as many as its tokens; beyond that, counts of the shortest
strings lag, but matches never do.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

START = 0
"""The state of the empty string."""
NOWHERE = -1
MAX_LINKS = 64


class Automaton(Protocol):
    """What reading an automaton takes, whether it still grows or was loaded from an index."""

    @property
    def length(self) -> Sequence[int]:
        """Per state: tokens in its longest string."""
        ...

    @property
    def link(self) -> Sequence[int]:
        """Per state: the state of the longest suffix that also ends elsewhere; `NOWHERE` for the start."""
        ...

    @property
    def count(self) -> Sequence[int]:
        """Per state: how often its strings occurred."""
        ...

    @property
    def newest(self) -> Sequence[int]:
        """Per state: how many tokens the text had when its strings occurred last."""
        ...

    def step(self, state: int, token: int) -> int | None:
        """The state of the string followed by `token`; None if that never occurred."""
        ...

    def followers(self, state: int) -> Mapping[int, int]:
        """The tokens that ever followed the state's strings, each with the state it leads to."""
        ...


class SuffixAutomaton:
    """The automaton of the tokens appended so far."""

    def __init__(self) -> None:
        self.length, self.link = [0], [NOWHERE]
        self.count, self.newest = [0], [0]
        self.next: list[dict[int, int]] = [{}]
        self.whole = START
        """The state of the whole text."""

    def __len__(self) -> int:
        return self.length[self.whole]

    def step(self, state: int, token: int) -> int | None:
        return self.next[state].get(token)

    def followers(self, state: int) -> Mapping[int, int]:
        return self.next[state]

    @property
    def repeated(self) -> int:
        """The state of the longest suffix of the text that occurred before."""
        return max(self.link[self.whole], START)

    def extend(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            self.append(token)

    def append(self, token: int) -> None:
        new = self._new_state(len(self) + 1, {}, count=0, newest=0)
        state = self.whole
        while state != NOWHERE and token not in self.next[state]:
            self.next[state][token] = new
            state = self.link[state]
        self.link[new] = START if state == NOWHERE else self._exactly(state, token)
        self.whole = new
        self._refresh(new)

    def _exactly(self, state: int, token: int) -> int:
        """The state whose longest string is that of `state` followed by `token`, split off its successor if need be."""
        longer = self.next[state][token]
        if self.length[longer] == self.length[state] + 1:
            return longer
        split = self._new_state(
            self.length[state] + 1, dict(self.next[longer]), count=self.count[longer], newest=self.newest[longer]
        )
        self.link[split], self.link[longer] = self.link[longer], split
        while state != NOWHERE and self.next[state].get(token) == longer:
            self.next[state][token] = split
            state = self.link[state]
        return split

    def _new_state(self, length: int, followers: dict[int, int], *, count: int, newest: int) -> int:
        self.length.append(length)
        self.link.append(NOWHERE)
        self.count.append(count)
        self.newest.append(newest)
        self.next.append(followers)
        return len(self.length) - 1

    def _refresh(self, state: int) -> None:
        """Every suffix of the text has occurred once more, just now."""
        for _ in range(MAX_LINKS):
            if state == START:
                return
            self.count[state] += 1
            self.newest[state] = len(self)
            state = self.link[state]


def follow(automaton: Automaton, state: int, length: int, token: int) -> tuple[int, int]:
    """The longest suffix of a matched string plus `token` that occurs: its state and length.

    `state` and `length` describe the string matched so far, which may be shorter than the state's longest.
    """
    while (target := automaton.step(state, token)) is None:
        if state == START:
            return START, 0
        state = automaton.link[state]
        length = automaton.length[state]
    return target, length + 1
