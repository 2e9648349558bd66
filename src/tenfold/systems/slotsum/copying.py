"""Answers that are copied: only strings of the documents, from the beginning of a word to the end of one, or "unknown".

The state is the set of places in the documents up to which the answer has been read, so an answer always has an
exact offset.
"""

# V vocabulary of the model
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tenfold.systems.slotsum.grammar import TokenNode, TokenTrie
from tenfold.systems.slotsum.leaks import word_places

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Source:
    """The bytes that may be copied, with a gap after each text, and where words begin and end."""

    data: bytes
    starts: frozenset[int]
    ends: frozenset[int]


def read_source(texts: Sequence[str]) -> Source:
    """The texts, and the answer "unknown", as one source."""
    data = bytearray()
    starts: set[int] = set()
    ends: set[int] = set()
    for text in (*texts, UNKNOWN):
        places = (
            [len(text[:place].encode()) for place in range(len(text) + 1)] if not text.isascii() else range(len(text) + 1)
        )
        for start, end in word_places(text):
            starts.add(len(data) + places[start])
            ends.add(len(data) + places[end])
        data += text.encode() + b"\x00"
    return Source(bytes(data), frozenset(starts), frozenset(ends))


class CopyConstraint:
    """A `Constraint` under which only a string of the source can be written; one per answer."""

    def __init__(self, source: Source, trie: TokenTrie, eos_ids: frozenset[int], num_tokens: int) -> None:
        self.source, self.trie = source, trie
        self.eos_ids, self.num_tokens = sorted(eos_ids), num_tokens
        self._places = [sorted(source.starts)]
        self._ended = False

    @property
    def finished(self) -> bool:
        return self._ended

    @property
    def may_end(self) -> bool:
        """Whether the answer so far ends with a word, or the document does (`trimmed` then takes back what follows
        the word)."""
        return len(self._places) > 1 and any(
            place in self.source.ends or self.source.data[place] == 0 for place in self._places[-1]
        )

    def mask(self, logits_V: Tensor) -> Tensor:
        """-inf for every token that would leave the source.

        Raises:
            ValueError: the answer has been ended.
        """
        if self._ended:
            raise ValueError("the answer has been ended; roll back before going on")
        allowed_V = torch.zeros(len(logits_V), dtype=torch.bool)
        ranks = {rank for place in self._places[-1] for rank in self._following(place)}
        allowed_V[torch.from_numpy(self.trie.tokens_T[sorted(ranks)])] = True
        if self.may_end:
            allowed_V[self.eos_ids] = True
        return logits_V.masked_fill(~allowed_V.to(logits_V.device), -torch.inf)

    def accept(self, token: int) -> None:
        """Moves on by one token.

        Raises:
            ValueError: it is not allowed here.
        """
        if token in self.eos_ids and self.may_end:
            self._ended = True
            self._places.append(self._places[-1])
            return
        text = self.trie.texts[token] if token not in self.eos_ids else b""
        places = [place + len(text) for place in self._places[-1] if text and self.source.data.startswith(text, place)]
        if not places or b"\x00" in text:
            raise ValueError(f"token {token} is not allowed here; take one that the mask leaves standing")
        self._places.append(places)

    def rollback(self, count: int) -> None:
        """Takes the last `count` accepted tokens back."""
        del self._places[len(self._places) - count :]
        self._ended = False

    def _following(self, place: int) -> list[int]:
        """Ranks (in trie order) of the tokens that the source goes on with at a place."""
        ranks: list[int] = []
        node: TokenNode | None = self.trie.root
        while node is not None:
            ranks += range(node.low, node.low + node.own)
            byte = self.source.data[place] if place < len(self.source.data) else 0
            node = node.children.get(byte) if byte else None
            place += 1
        return ranks


def trimmed(answer: str, source: Source) -> str:
    """The answer without a last word that a token limit cut off."""
    data = answer.encode()
    for stop in range(len(data), 0, -1):
        place = source.data.find(data[:stop])
        while place >= 0:
            if place in source.starts and place + stop in source.ends:
                return data[:stop].decode(errors="ignore")
            place = source.data.find(data[:stop], place + 1)
    return ""
