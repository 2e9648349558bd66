"""Rows as token ids: the model's own chat template, and the loss on the answer alone.

The answer's tokens are what the template adds after the prompt, up to and with the token that ends the turn. Where
a template renders the prompt differently once an answer follows, the answer is appended as text with the end token.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from tenfold.core.errors import ConfigError
from tenfold.nn.models import chat_ids, text_ids
from tenfold.train.rows import Row


@dataclass(frozen=True)
class EncodedRow:
    """Token ids of prompt and answer; the first `num_prompt` of them do not count in the loss."""

    id: str
    ids: tuple[int, ...]
    num_prompt: int

    @property
    def num_learned(self) -> int:
        """How many tokens count in the loss."""
        return len(self.ids) - self.num_prompt


def encode(row: Row, tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedRow:
    """One row as token ids, cut at `max_length` from the end.

    Raises:
        ConfigError: the prompt alone fills `max_length`, so that no token of the answer would be learned.
    """
    prompt = chat_ids(tokenizer, list(row.prompt))
    ids = prompt + _answer_ids(row, tokenizer, prompt)
    if len(prompt) >= max_length:
        raise ConfigError(
            f"row {row.id}: its prompt has {len(prompt)} tokens, max_length is {max_length}; raise it or drop the row"
        )
    return EncodedRow(row.id, tuple(ids[:max_length]), len(prompt))


def encode_all(rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[EncodedRow]:
    """All rows, in order."""
    return [encode(row, tokenizer, max_length) for row in rows]


def _answer_ids(row: Row, tokenizer: PreTrainedTokenizerBase, prompt: list[int]) -> list[int]:
    end: Any = tokenizer.eos_token_id
    if tokenizer.chat_template:
        turns = [*map(dict, row.prompt), {"role": "assistant", "content": row.completion}]
        whole: Any = tokenizer.apply_chat_template(turns, return_dict=True)
        ids = list(whole["input_ids"])
        if ids[: len(prompt)] == prompt and end in ids[len(prompt) :]:
            return _until_last(ids[len(prompt) :], end)
    return [*text_ids(tokenizer, row.completion), *([] if end is None else [end])]


def _until_last(ids: list[int], end: Any) -> list[int]:
    """Drops what a template adds after the token that ends the turn, such as a newline."""
    return ids[: len(ids) - ids[::-1].index(end)]
