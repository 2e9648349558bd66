"""Plain text as rows, for losses on text that is no instruction: blocks spread over it, or windows that slide over it."""

from transformers import PreTrainedTokenizerBase

from tenfold.core.errors import ConfigError
from tenfold.nn.models import text_ids
from tenfold.train.encoding import EncodedRow

CHARACTERS_PER_TOKEN = 8
"""More than any language takes, so that the characters cut out for a block always hold enough tokens."""


def text_blocks(text: str, tokenizer: PreTrainedTokenizerBase, *, length: int, count: int) -> list[EncodedRow]:
    """At most `count` blocks of at most `length` tokens, spread evenly over the text; the first token of each is given.

    Raises:
        ConfigError: the text is too short for one token of loss.
    """
    reach = length * CHARACTERS_PER_TOKEN
    count = max(1, min(count, len(text) // reach))
    starts = [(len(text) - reach) * place // max(1, count - 1) if count > 1 else 0 for place in range(count)]
    blocks = [text_ids(tokenizer, text[start : start + reach])[:length] for start in starts]
    if min(len(ids) for ids in blocks) < 2:
        raise ConfigError(f"the text has {len(text)} characters, too few for a block; give a longer one")
    return [EncodedRow(f"block-{place}", tuple(ids), 1) for place, ids in enumerate(blocks)]


def text_windows(text: str, tokenizer: PreTrainedTokenizerBase, *, length: int, stride: int) -> list[EncodedRow]:
    """Windows of `length` tokens, each `stride` further on, in which every token of the text but the first counts once.

    All but the first window give each counted token at least `length - stride` tokens before it: the perplexity of a long
    text as it is usually reported (`losses.perplexity(row_losses(model, windows))`).

    Raises:
        ConfigError: the stride is not from 1 to below `length`, or the text has no two tokens.
    """
    if not 1 <= stride < length:
        raise ConfigError(f"stride is {stride} and a window has {length} tokens; give a stride from 1 to below the length")
    ids = text_ids(tokenizer, text)
    if len(ids) < 2:
        raise ConfigError(f"the text has {len(ids)} tokens; 2 are needed for a loss")
    rows, counted = [], 1
    for end in range(min(length, len(ids)), len(ids) + stride, stride):
        end = min(end, len(ids))
        start = max(0, end - length)
        if end > counted:
            rows.append(EncodedRow(f"window-{len(rows)}", tuple(ids[start:end]), max(1, counted - start)))
        counted = end
    return rows
