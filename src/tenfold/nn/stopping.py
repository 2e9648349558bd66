"""Where a text ends: at an end-of-sequence token, a stop string, or the token limit, also in the middle of a block."""

from collections.abc import Callable, Collection, Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

StopReason = Literal["eos", "stop_string", "length", "criterion"]


class Stopper:
    """Cuts blocks of new tokens at the first stop; one per request."""

    def __init__(
        self,
        *,
        max_new_tokens: int,
        eos_ids: Collection[int] = (),
        stop_strings: Sequence[str] = (),
        tokenizer: PreTrainedTokenizerBase | None = None,
        criterion: Callable[[Sequence[int]], bool] | None = None,
    ) -> None:
        """`criterion` is asked after each token whether the output so far is the whole text."""
        if stop_strings and tokenizer is None:
            raise ValueError("stop_strings need a tokenizer; pass tokenizer=")
        self.max_new_tokens = max_new_tokens
        self.eos_ids = frozenset(eos_ids)
        self.stop_strings = [text for text in stop_strings if text]
        self.tokenizer = tokenizer
        self.criterion = criterion

    def cut(self, output: Sequence[int], block: Sequence[int]) -> tuple[list[int], StopReason | None]:
        """What of `block` still belongs to the text after `output`, and why the text ends there (None: it goes on).

        The token that stops the text is part of it.
        """
        kept: list[int] = []
        for token in block:
            if len(output) + len(kept) >= self.max_new_tokens:
                return kept, "length"
            kept.append(token)
            if token in self.eos_ids:
                return kept, "eos"
            if self.stop_strings and self._ends_in_stop_string([*output, *kept]):
                return kept, "stop_string"
            if self.criterion is not None and self.criterion([*output, *kept]):
                return kept, "criterion"
        return kept, "length" if len(output) + len(kept) >= self.max_new_tokens else None

    def _ends_in_stop_string(self, output: Sequence[int]) -> bool:
        """Looks at as many last tokens as the longest stop string has bytes, and one more."""
        assert self.tokenizer is not None
        longest = max(len(text.encode()) for text in self.stop_strings)
        tail = str(self.tokenizer.decode(list(output[-longest - 1 :])))
        before = str(self.tokenizer.decode(list(output[-longest - 1 : -1])))
        return any(tail.count(text) > before.count(text) for text in self.stop_strings)
