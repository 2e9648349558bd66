"""A text as a stream of entries: each token comes in with the sentinels that belong before or after it.

    memory   the sentinels of a finished chunk, then the token that begins the next one
    inline   the token, then the sentinels of the chunk that it finishes

Whichever it is, the last entry of a token's group predicts the next token. Whole texts (`layout.insert`) and decoding
(`lm`) take their entries from here, so they cannot differ.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tenfold.core.errors import ConfigError
from tenfold.systems.sentinel.chunkers import TAIL, Place, chunker, ends_paragraph
from tenfold.systems.sentinel.settings import SentinelConfig


class Entry(NamedTuple):
    """One place of the expanded sequence."""

    id: int
    i: int
    """Original tokens up to here."""
    c: int
    """Number of the chunk."""
    g: int
    """Number of the paragraph."""
    level: int
    """0: original token, 1: sentinel of a chunk, 2: sentinel of a paragraph."""
    pos: int
    """Rotary position."""


@dataclass(frozen=True)
class State:
    """All that the next token depends on; to go back is to take an earlier state."""

    tail: str = ""
    unfinished: bytes = b""
    count: int = 0
    """Tokens of the open chunk."""
    i: int = 0
    c: int = 0
    g: int = 0
    n: int = 0
    """Entries so far."""
    paragraph_ended: bool = False


class Segmenter:
    """Cuts streams of tokens by one config.

    Args:
        pieces: the bytes of every token.
        ids: the sentinel's id, then that of paragraphs where there is a hierarchy.

    Raises:
        ConfigError: an unknown chunker, one that looks ahead in inline mode, or too few ids.
    """

    def __init__(self, config: SentinelConfig, pieces: Sequence[bytes], ids: Sequence[int]) -> None:
        self.config, self.pieces, self.ids = config, pieces, tuple(ids)
        self.chunker = chunker(config.chunker)
        if config.mode == "inline" and self.chunker.looks_ahead:
            raise ConfigError(
                f"chunker {config.chunker} looks at the coming token, which mode inline has not predicted yet; "
                "take fixed:n, paragraph or punct, or mode memory"
            )
        if len(self.ids) < 1 + config.hierarchy:
            raise ConfigError(
                f"got {len(self.ids)} sentinel ids, but the settings need {1 + config.hierarchy}; give that many"
            )
        self._decoder = codecs.getincrementaldecoder("utf-8")

    def step(self, state: State, token: int, nats: float | None = None) -> tuple[list[Entry], State]:
        """The entries that `token` brings, and the state after them. `nats`: its surprise, for that chunker."""
        if token in self.ids:
            raise ConfigError(
                f"token {token} is the sentinel, but stands in the text already; remove it, or choose another token"
            )
        if self.config.mode == "inline":
            state, entry = self._token(state, token)
            sentinels, state = self._close(state) if self._is_boundary(state, "", None) else ([], state)
            return [entry, *sentinels], state
        following = self._text(token) if self.chunker.looks_ahead else ""
        sentinels, state = self._close(state) if self._is_boundary(state, following, nats) else ([], state)
        state, entry = self._token(state, token)
        return [*sentinels, entry], state

    def _is_boundary(self, state: State, following: str, nats: float | None) -> bool:
        """Never inside a character, and within the limits of a chunk's length."""
        if state.unfinished or state.count < self.config.min_chunk:
            return False
        place = Place(state.tail, following, state.count, nats, state.i)
        return state.count >= self.config.max_chunk or self.chunker.boundary(place)

    def _token(self, state: State, token: int) -> tuple[State, Entry]:
        decoder = self._decoder(errors="replace")
        text = decoder.decode(state.unfinished + self.pieces[token])
        tail = (state.tail + text)[-TAIL:]
        position = state.n if self.config.positions == "own" else state.i
        entry = Entry(token, state.i + 1, state.c, state.g, 0, position)
        ended = state.paragraph_ended or (self.config.hierarchy and ends_paragraph(tail))
        unfinished = decoder.getstate()[0]
        count, c, g = state.count + 1, state.c, state.g
        return State(tail, unfinished, count, state.i + 1, c, g, state.n + 1, ended), entry

    def _close(self, state: State) -> tuple[list[Entry], State]:
        """The sentinels after the open chunk, and where it ends a paragraph that of the paragraph."""
        closes_paragraph = self.config.hierarchy and state.paragraph_ended
        levels = [1] * self.config.n_sr + [2] * closes_paragraph
        entries = [
            Entry(self.ids[level - 1], state.i, state.c, state.g, level, self._position(state, number))
            for number, level in enumerate(levels)
        ]
        after = replace(state, count=0, c=state.c + 1, n=state.n + len(entries))
        return entries, replace(after, g=state.g + 1, paragraph_ended=False) if closes_paragraph else after

    def _position(self, state: State, number: int) -> int:
        return {"shared": state.i - 1, "own": state.n + number, "reset": state.c}[self.config.positions]

    def _text(self, token: int) -> str:
        return self.pieces[token].decode(errors="replace")


class PlainStream:
    """A text without sentinels, in the place of a `Segmenter`."""

    def step(self, state: State, token: int, nats: float | None = None) -> tuple[list[Entry], State]:
        """The token alone."""
        after = replace(state, i=state.i + 1, n=state.n + 1)
        return [Entry(token, state.i + 1, 0, 0, 0, state.i)], after
