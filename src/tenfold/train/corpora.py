"""Plain text as rows of equal length, for losses on text that is not an instruction: what a model knew before."""

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
