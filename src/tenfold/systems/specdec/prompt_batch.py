"""What can be continued: ids as a tensor (padded, with its mask) or lists, strings, conversations; one or many."""

# N prompts, T width of the padded prompts
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tenfold.core.errors import UserError
from tenfold.nn import models

ACCEPTED = "ids (a tensor or lists), strings, conversations (lists of {role, content}), or what a tokenizer returns"


@dataclass(frozen=True)
class PromptBatch:
    """Prompts without padding, and with it as it was given, or on the left."""

    prompts: Sequence[Sequence[int]]
    padded_NT: Tensor

    @property
    def width(self) -> int:
        return self.padded_NT.shape[1]


def read_prompts(
    inputs: Any,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    attention_mask: Tensor | None,
    pad_id: int,
    pad_is_padding: bool = False,
) -> PromptBatch:
    """The prompts of any accepted form.

    `pad_is_padding`: in a tensor without a mask, `pad_id` is padding wherever it stands, as Transformers sees it.

    Raises:
        UserError: it is none of these forms, text is given without a tokenizer, or a prompt is empty.
    """
    if isinstance(inputs, Mapping) and "input_ids" in inputs:
        attention_mask = inputs.get("attention_mask", attention_mask)
        inputs = inputs["input_ids"]
    if isinstance(inputs, Tensor):
        ids_NT = inputs[None] if inputs.dim() == 1 else inputs
        return _checked(PromptBatch(_unpadded(ids_NT, attention_mask, pad_id if pad_is_padding else None), ids_NT))
    if attention_mask is not None:
        raise UserError("an attention_mask belongs to a tensor of input ids; leave it out, or give ids as a tensor")
    prompts = [_ids(one, tokenizer) for one in _several(inputs)]
    longest = max(map(len, prompts), default=0)
    rows = [[*[pad_id] * (longest - len(prompt)), *prompt] for prompt in prompts]
    return _checked(PromptBatch(prompts, torch.tensor(rows, dtype=torch.long)))


def _several(inputs: Any) -> Sequence[Any]:
    """One prompt as a list of one."""
    if isinstance(inputs, str):
        return [inputs]
    if not isinstance(inputs, Sequence) or not inputs:
        raise UserError(f"got {type(inputs).__name__} as prompt; accepted are {ACCEPTED}")
    return [inputs] if isinstance(inputs[0], (int, Mapping)) else inputs


def _ids(one: Any, tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    if isinstance(one, Sequence) and not isinstance(one, str) and all(isinstance(token, int) for token in one):
        return list(one)
    if tokenizer is None:
        raise UserError("text is given without a tokenizer; give the model's tokenizer, or token ids")
    if isinstance(one, str):
        return models.text_ids(tokenizer, one)
    if isinstance(one, Sequence) and all(isinstance(message, Mapping) for message in one):
        return models.chat_ids(tokenizer, one)
    raise UserError(f"got {type(one).__name__} as prompt; accepted are {ACCEPTED}")


def _unpadded(ids_NT: Tensor, attention_mask: Tensor | None, pad_id: int | None) -> list[list[int]]:
    if attention_mask is not None:
        seen_NT = attention_mask.reshape(ids_NT.shape).bool()
    else:
        seen_NT = torch.ones_like(ids_NT, dtype=torch.bool) if pad_id is None else ids_NT != pad_id
    return [row_T[seen_T].tolist() for row_T, seen_T in zip(ids_NT, seen_NT, strict=True)]


def _checked(batch: PromptBatch) -> PromptBatch:
    if not batch.prompts or not all(batch.prompts):
        raise UserError("a prompt is empty; give each at least one token, for example the model's BOS token")
    return batch
