"""From tokens to pieces of text as they may be sent: whole characters only, and nothing that a stop string may still eat."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

REPLACEMENT = "\ufffd"
"""How a decoder shows bytes that are no whole character (yet)."""
CONTEXT = 8
"""Tokens before the new ones that are decoded with them: tokenizers write a token differently at a text's beginning."""


class TextStream:
    """One answer on its way to the client. `push` and `finish` return what may be sent now; their sum is the text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_strings: Sequence[str] = ()) -> None:
        self.tokenizer = tokenizer
        self.stops = [stop for stop in stop_strings if stop]
        self.ids: list[int] = []
        self.num_settled = 0
        """Tokens whose text is whole and taken over into `_held`."""
        self._held = ""
        """Text that is known but may be the beginning of a stop string."""
        self.is_over = False
        """Whether a stop string has ended the text."""

    def push(self, ids: Sequence[int]) -> str:
        """Takes the next tokens."""
        self.ids += ids
        news = self._news()
        if news.endswith(REPLACEMENT):
            return ""
        self.num_settled = len(self.ids)
        self._held += news
        return self._release(len(self._held) - self._num_at_stake())

    def finish(self) -> str:
        """The rest, after the last token."""
        self._held += self._news()
        self.num_settled = len(self.ids)
        return self._release(len(self._held))

    def _news(self) -> str:
        """The text of the tokens that are not settled, as it stands behind those before."""
        start = max(0, self.num_settled - CONTEXT)
        before = self._decode(self.ids[start : self.num_settled])
        return self._decode(self.ids[start:])[len(before) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _release(self, most: int) -> str:
        """Sends up to `most` characters of what is held, and nothing from a stop string on."""
        if self.is_over:
            return ""
        end = min((place for stop in self.stops if (place := self._held.find(stop)) >= 0), default=None)
        if end is not None:
            self.is_over, most = True, end
        sent, self._held = self._held[:most], self._held[most:]
        return sent

    def _num_at_stake(self) -> int:
        """Characters at the end of what is held that may be the beginning of a stop string."""
        return max(
            (size for stop in self.stops for size in range(1, len(stop)) if self._held.endswith(stop[:size])), default=0
        )
