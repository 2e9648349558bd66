"""Blocks of plain text: even, repeatable, and every token but the first counts."""

import pytest
import torch

from tenfold.core.errors import ConfigError
from tenfold.nn.models import text_ids
from tenfold.train.corpora import text_blocks, text_windows
from tenfold.train.losses import perplexity, row_losses
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


@pytest.mark.parametrize(("length", "stride"), [(16, 1), (16, 5), (16, 15), (40, 20), (5000, 10)])
def test_windows_count_every_token_once_with_the_context_that_was_asked_for(length, stride):
    tokenizer = tiny_tokenizer()
    text = TEXT[:900]
    ids = text_ids(tokenizer, text)
    windows = text_windows(text, tokenizer, length=length, stride=stride)
    counted = [token for window in windows for token in window.ids[window.num_prompt :]]
    assert counted == ids[1:] and all(len(window.ids) <= length for window in windows)
    assert all(window.num_prompt >= length - stride for window in windows[1:])


def test_windowed_perplexity_equals_a_slow_pass_token_by_token():
    tokenizer = tiny_tokenizer()
    model, text = tiny_chat_model(tokenizer).eval(), TEXT[:300]
    ids, length, stride = text_ids(tokenizer, text), 12, 4
    total, begin = 0.0, 0
    for place in range(1, len(ids)):
        if place >= begin + length:
            begin = min(begin + stride, len(ids) - length)
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([ids[begin:place]])).logits[0, -1].log_softmax(-1)
        total -= float(logprobs[ids[place]])
    windows = text_windows(text, tokenizer, length=length, stride=stride)
    expected = torch.tensor(total / (len(ids) - 1)).exp().item()
    assert perplexity(row_losses(model, windows)) == pytest.approx(expected, rel=1e-5)


def test_windows_that_cannot_be_are_refused():
    tokenizer = tiny_tokenizer()
    for stride in (0, 16, 17):
        with pytest.raises(ConfigError, match="stride is"):
            text_windows(TEXT, tokenizer, length=16, stride=stride)
    with pytest.raises(ConfigError, match="2 are needed"):
        text_windows("", tokenizer, length=16, stride=4)
