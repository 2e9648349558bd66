"""Between two tokenizers: what a text is called in either, and a context that is re-encoded as it grows.

Re-encoding a whole context each round would cost more than the draft, so only its end is: the last `lookbehind` tokens
and what is new are encoded together, and the result is joined to the earlier encoding where both agree.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from tenfold.systems.specdec.drafters.in_step import shared_prefix

LOOKBEHIND = 10


class Codec(Protocol):
    """A tokenizer, as far as another one's drafter needs it."""

    @property
    def beginning(self) -> Sequence[int]:
        """The tokens that stand before every text, such as BOS."""
        ...

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without special ones."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, special ones left out."""
        ...

    def pieces(self) -> list[str]:
        """Each token's text inside a longer text; special tokens have none."""
        ...


class TransformersCodec:
    """A Transformers tokenizer; `size` is the number of rows of the model's vocabulary, padding included."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, size: int) -> None:
        self.tokenizer, self.size = tokenizer, size
        self.beginning = text_tokens(tokenizer, "", special=True)

    def encode(self, text: str) -> list[int]:
        return text_tokens(self.tokenizer, text)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def pieces(self) -> list[str]:
        """A tokenizer may drop the space of a text's first token, so each is read behind a letter."""
        letter = self.encode("a")
        start = len(self.decode(letter))
        known = min(self.size, len(self.tokenizer))
        return [self.decode([*letter, token])[start:] for token in range(known)]


def text_tokens(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool = False) -> list[int]:
    """The tokens of a text, with those that the tokenizer puts around every text if `special`."""
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])  # pyright: ignore[reportArgumentType]


class Reencoder:
    """A context of one codec in the tokens of another, kept up to date as the context grows."""

    def __init__(self, source: Codec, own: Codec, lookbehind: int = LOOKBEHIND) -> None:
        self.source, self.own, self.lookbehind = source, own, lookbehind
        self.context: list[int] = []
        self.encoded: list[int] = []

    def __call__(self, context: Sequence[int]) -> list[int]:
        """The whole context, with what stands before every text."""
        grown = shared_prefix(self.context, context) == len(self.context) > 0
        joined = self._join(context) if grown else None
        self.encoded = self.own.encode(self.source.decode(context)) if joined is None else joined
        self.context = list(context)
        return [*self.own.beginning, *self.encoded]

    def _join(self, context: Sequence[int]) -> list[int] | None:
        """The earlier encoding with its end replaced; None if the two do not fit together without a seam."""
        known = len(self.context)
        window = context[max(0, known - self.lookbehind) :]
        old_end, fresh = self.encoded[-self.lookbehind :], self.own.encode(self.source.decode(window))
        match = SequenceMatcher(None, old_end, fresh, autojunk=False).find_longest_match()
        end = old_end[: match.a] + fresh[match.b :]
        wanted = self.own.decode(old_end) + self._added_text(context)
        if match.size == 0 or self.own.decode(end) != wanted:
            return None
        return self.encoded[: len(self.encoded) - len(old_end)] + end

    def _added_text(self, context: Sequence[int]) -> str:
        known = len(self.context)
        start = max(0, known - self.lookbehind)
        return self.source.decode(context[start:])[len(self.source.decode(context[start:known])) :]
