"""Blocks of plain text: even, repeatable, and every token but the first counts."""

import pytest

from tenfold.core.errors import ConfigError
from tenfold.train.corpora import text_blocks
from tenfold.train.losses import row_losses
from tiny_chat import tiny_chat_model, tiny_tokenizer

TEXT = " ".join(f"what follows {n % 40} ?" for n in range(400))


def test_blocks_are_spread_over_the_text():
    blocks = text_blocks(TEXT, tiny_tokenizer(), length=16, count=5)
    assert len(blocks) == 5 and {len(block.ids) for block in blocks} == {16}
    assert blocks == text_blocks(TEXT, tiny_tokenizer(), length=16, count=5)
    assert len({block.ids for block in blocks}) > 1


def test_all_but_the_first_token_count():
    tokenizer = tiny_tokenizer()
    losses = row_losses(tiny_chat_model(tokenizer), text_blocks(TEXT, tokenizer, length=16, count=3))
    assert [loss.num_tokens for loss in losses] == [15] * 3


def test_a_short_text_gives_fewer_blocks_and_too_short_a_one_is_refused():
    tokenizer = tiny_tokenizer()
    assert len(text_blocks("what follows 1 ?", tokenizer, length=64, count=4)) == 1
    with pytest.raises(ConfigError, match="too few for a block"):
        text_blocks("what", tokenizer, length=64, count=4)
