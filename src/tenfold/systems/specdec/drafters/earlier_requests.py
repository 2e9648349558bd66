"""The texts of earlier requests in one automaton, the least recently useful forgotten first.

An automaton cannot forget, so it is built anew from the most recently useful half of its texts once it holds more than
`max_tokens`; between two rebuildings half as many tokens must arrive, which keeps the time per token constant.
"""

from bisect import bisect_left
from collections.abc import Sequence

from tenfold.systems.specdec.drafters.suffix_automaton import SuffixAutomaton

SEPARATOR = -1
"""Ends each text in the automaton; no context holds it, so no match runs across two texts."""


class EarlierRequests:
    """Remembers up to `max_tokens` tokens; with 0, nothing."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.automaton = SuffixAutomaton()
        self.texts: list[Sequence[int]] = []
        self.ends: list[int] = []
        """Per text: how many tokens the automaton held after it."""
        self.last_use: list[int] = []
        self.clock = 0

    def remember(self, text: Sequence[int]) -> None:
        """Adds a text; one longer than half of `max_tokens` keeps only its end."""
        text = text[-(self.max_tokens // 2) :] if self.max_tokens > 1 else ()
        if not text:
            return
        self._add(text, self._tick())
        if len(self.automaton) > self.max_tokens:
            self._forget()

    def touch(self, end: int) -> None:
        """Notes that the text holding the automaton's token number `end` has just been useful."""
        self.last_use[bisect_left(self.ends, end)] = self._tick()

    def _forget(self) -> None:
        """Keeps the most recently useful texts, the most useful newest, up to half of the room."""
        entries = list(zip(self.texts, self.last_use, strict=True))
        kept, size = [], 0
        for text, last_use in sorted(entries, key=lambda entry: -entry[1]):
            size += len(text) + 1
            if kept and size > self.max_tokens // 2:
                break
            kept.append((text, last_use))
        self.automaton, self.texts, self.ends, self.last_use = SuffixAutomaton(), [], [], []
        for text, last_use in sorted(kept, key=lambda entry: entry[1]):
            self._add(text, last_use)

    def _add(self, text: Sequence[int], last_use: int) -> None:
        self.automaton.extend([*text, SEPARATOR])
        self.texts.append(text)
        self.ends.append(len(self.automaton))
        self.last_use.append(last_use)

    def _tick(self) -> int:
        self.clock += 1
        return self.clock
