"""Does the model get the number right? Greedy answers to questions, and the number after `####` compared.

An answer without such a number is wrong, and is counted apart as well.
"""

# B questions, T positions
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from tenfold.nn.models import chat_ids
from tenfold.systems.plora.data import final_number
from tenfold.train.rows import Row

MAX_NEW_TOKENS = 320
BATCH_SIZE = 128


def exact_matches(model: nn.Module, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> dict[str, Any]:
    """{exact: 0 or 1 for each row, unparsable: how many answers held no number}; empty where there are no rows."""
    if not rows:
        return {}
    answers: list[str] = []
    for start in range(0, len(rows), BATCH_SIZE):
        answers += _answers(model.eval(), tokenizer, rows[start : start + BATCH_SIZE])
    found = [final_number(answer) for answer in answers]
    right = [
        int(number is not None and number == final_number(row.completion)) for number, row in zip(found, rows, strict=True)
    ]
    return {"exact": right, "unparsable": found.count(None)}


def _answers(model: Any, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> list[str]:
    prompts = [chat_ids(tokenizer, list(row.prompt)) for row in rows]
    width, place = max(map(len, prompts)), next(model.parameters()).device
    padding: Any = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids_BT = torch.tensor([[padding] * (width - len(ids)) + ids for ids in prompts], device=place)
    mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=place)
    with torch.no_grad():
        written_BT = model.generate(
            input_ids=ids_BT, attention_mask=mask_BT, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, pad_token_id=padding
        )[:, width:]
    return tokenizer.batch_decode(written_BT, skip_special_tokens=True)
