"""Which tokens keep a text valid UTF-8, given its last bytes. Tokens of byte-level vocabularies may end inside a character.

A text that ends inside a character is in one of seven states: how many bytes are missing, and after some first bytes
also which ones may follow (The Unicode Standard, table 3-7). Each state's mask is computed when it is first needed.
"""

# T vocabulary of the tokenizer
import codecs
from collections.abc import Sequence

import torch
from torch import Tensor

REPRESENTATIVES = {1: b"\xc2", 2: b"\xe1", 3: b"\xf1"}
"""By the number of missing bytes: an unfinished character that any continuation bytes may finish."""
NARROW = (b"\xe0", b"\xed", b"\xf0", b"\xf4")
"""First bytes after which only some continuation bytes may come."""


class Utf8Masks:
    """The masks of one vocabulary, given the bytes of each of its tokens."""

    def __init__(self, vocabulary: Sequence[bytes]) -> None:
        self.vocabulary = vocabulary
        self._masks: dict[bytes, Tensor] = {}

    def allowed(self, unfinished: bytes) -> Tensor:
        """[T] bool: the tokens after which the text is still the beginning of valid UTF-8."""
        state = _state(unfinished)
        if state not in self._masks:
            self._masks[state] = torch.tensor([is_beginning(state + token) for token in self.vocabulary])
        return self._masks[state]

    def unfinished(self, before: bytes, token: int) -> bytes:
        """The bytes of the last character after `token`, if it is not whole; `before` are those in front of it."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        decoder.decode(before + self.vocabulary[token])
        return decoder.getstate()[0]


def is_beginning(data: bytes) -> bool:
    """Whether some valid UTF-8 begins with these bytes."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _state(unfinished: bytes) -> bytes:
    """An unfinished character after which the same bytes may come."""
    if not unfinished or unfinished in NARROW:
        return unfinished
    length = 2 if unfinished[0] < 0xE0 else 3 if unfinished[0] < 0xF0 else 4
    return REPRESENTATIVES[length - len(unfinished)]
