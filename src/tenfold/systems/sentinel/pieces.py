"""The seam to a tokenizer: text to ids and back, and the bytes of every token.

A tokenizer of Transformers turns the text of a reserved token into that token. A sentinel must never come from a user's
text, so such text is cut in two before it is encoded.
"""

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, Protocol

import xgrammar
from transformers import PreTrainedTokenizerBase

from tenfold.core.errors import ConfigError
from tenfold.nn.stories import StoriesTokenizer

WORDS = re.compile(r" ?[^ ]+| +")


class Codec(Protocol):
    """What this home needs of a tokenizer."""

    beginning: Sequence[int]
    """What stands before a text."""

    @property
    def pieces(self) -> Sequence[bytes]:
        """The bytes of every token."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text, never the sentinel's."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids."""
        ...

    def reserved(self) -> list[int]:
        """Tokens that no ordinary text needs, the first to be taken first."""
        ...


class HubCodec:
    """A tokenizer of Transformers."""

    beginning: Sequence[int] = ()

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    @property
    def pieces(self) -> Sequence[bytes]:
        return self._pieces

    @cached_property
    def _pieces(self) -> Sequence[bytes]:
        eos = self.tokenizer.eos_token_id
        return xgrammar.TokenizerInfo.from_huggingface(
            self.tokenizer, stop_token_ids=[] if eos is None else None
        ).decoded_vocab

    @cached_property
    def _specials(self) -> dict[str, int]:
        added: Any = self.tokenizer.added_tokens_decoder
        return {token.content: number for number, token in added.items() if token.special}

    def reserved(self) -> list[int]:
        """Special tokens without a role of their own, the last one first."""
        named: Any = [self.tokenizer.bos_token, self.tokenizer.eos_token, self.tokenizer.pad_token, self.tokenizer.unk_token]
        template = str(self.tokenizer.chat_template or "")
        free = [number for text, number in self._specials.items() if text not in named and text not in template]
        return sorted(free, reverse=True)

    def encode(self, text: str) -> list[int]:
        texts = [text]
        for special in (special for special in self._specials if special in text):
            half = len(special) // 2
            texts = [part for whole in texts for part in _cut_inside(whole, special, half)]
        return [token for part in texts if part for token in self._ids(part)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids)))

    def _ids(self, text: str) -> list[int]:
        ids: Any = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return list(ids)


class StoriesCodec:
    """The tokenizer of stories260K, whose token 0 (unknown) no text needs, since every byte has a token."""

    def __init__(self, tokenizer: StoriesTokenizer) -> None:
        self.tokenizer = tokenizer
        self.beginning = tokenizer.beginning
        self._word = lru_cache(maxsize=100_000)(lambda word: tuple(tokenizer.encode(word)))

    @property
    def pieces(self) -> Sequence[bytes]:
        return self._pieces

    @cached_property
    def _pieces(self) -> Sequence[bytes]:
        return [self.tokenizer._bytes(token) for token in range(len(self.tokenizer.texts))]

    def reserved(self) -> list[int]:
        return [0]

    def encode(self, text: str) -> list[int]:
        """Word by word: no token of this vocabulary reaches over a space."""
        return [token for word in WORDS.findall(text) for token in self._word(word)]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)


def codec_of(tokenizer: Any) -> Codec:
    """The codec of a tokenizer; one that is a codec already passes.

    Raises:
        ConfigError: neither a tokenizer of Transformers nor that of stories260K.
    """
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        return HubCodec(tokenizer)
    if isinstance(tokenizer, StoriesTokenizer):
        return StoriesCodec(tokenizer)
    if hasattr(tokenizer, "pieces") and hasattr(tokenizer, "encode"):
        return tokenizer
    raise ConfigError(f"cannot cut texts with a {type(tokenizer).__name__}; give a tokenizer of Transformers")


def _cut_inside(text: str, special: str, half: int) -> list[str]:
    """The text cut in the middle of every occurrence of `special`."""
    first, *rest = text.split(special)
    parts = [first]
    for part in rest:
        parts[-1] += special[:half]
        parts.append(special[half:] + part)
    return parts
