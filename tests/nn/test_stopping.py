"""Where a text ends: at the first stop, the same whether tokens come one by one or in blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tenfold.nn.stopping import Stopper

PIECES = ["a", "b", "ab", "ba", "bab", "\n", "é"]


@pytest.fixture(scope="module")
def tokenizer():
    """Byte-level, with some longer pieces and with é as two tokens of one byte each."""
    pre = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    encoded = [pre.pre_tokenize_str(piece)[0][0] for piece in PIECES]
    vocab = dict.fromkeys([*encoded[:-1], *encoded[-1]])
    table = {piece: number for number, piece in enumerate(vocab)}
    byte_level = Tokenizer(models.BPE(vocab=table, merges=[]))
    byte_level.pre_tokenizer, byte_level.decoder = pre, decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=byte_level)


def one_by_one(stopper, tokens):
    output = []
    for token in tokens:
        block, reason = stopper.cut(output, [token])
        output += block
        if reason:
            return output, reason
    return output, None


@given(
    tokens=st.lists(st.integers(0, 7), max_size=20), sizes=st.lists(st.integers(1, 6), min_size=1), limit=st.integers(1, 15),
    stop_strings=st.lists(st.text("ab\né", min_size=1, max_size=4), max_size=3),
)  # fmt: skip
def test_blocks_stop_where_single_tokens_stop(tokenizer, tokens, sizes, limit, stop_strings):
    stopper = Stopper(max_new_tokens=limit, eos_ids=[5], stop_strings=stop_strings, tokenizer=tokenizer)
    expected, rest, output, reason = one_by_one(stopper, tokens), list(tokens), [], None
    while rest and reason is None:
        size = sizes[len(rest) % len(sizes)]
        block, reason = stopper.cut(output, rest[:size])
        output, rest = output + block, rest[size:]
    assert (output, reason) == expected


@given(tokens=st.lists(st.integers(0, 7), max_size=20), stop_string=st.text("ab\né", min_size=1, max_size=5))
def test_stop_string_ends_the_text_at_the_token_that_completes_it(tokenizer, tokens, stop_string):
    stopper = Stopper(max_new_tokens=99, stop_strings=[stop_string], tokenizer=tokenizer)
    ends = [end for end in range(1, len(tokens) + 1) if stop_string in tokenizer.decode(tokens[:end])]
    assert one_by_one(stopper, tokens) == (tokens[: ends[0]] if ends else tokens, "stop_string" if ends else None)


def test_eos_is_part_of_the_text_and_ends_it_inside_a_block():
    stopper = Stopper(max_new_tokens=9, eos_ids=[7])
    assert stopper.cut([1], [2, 7, 3]) == ([2, 7], "eos")


@pytest.mark.parametrize(
    ("output", "block", "expected"),
    [
        ([], [1, 2], ([1, 2], None)),
        ([], [1, 2, 3, 4], ([1, 2, 3], "length")),
        ([1, 2], [3], ([3], "length")),
        ([1, 2, 3], [4], ([], "length")),
        ([1, 2], [7, 7], ([7], "eos")),
        ([1], [], ([], None)),
        ([1, 2, 3], [], ([], "length")),
    ],
)
def test_limit_is_kept_inside_a_block(output, block, expected):
    assert Stopper(max_new_tokens=3, eos_ids=[7]).cut(output, block) == expected


def test_stop_strings_need_a_tokenizer():
    with pytest.raises(ValueError, match="tokenizer"):
        Stopper(max_new_tokens=1, stop_strings=["a"])


def test_empty_stop_strings_never_stop(tokenizer):
    assert Stopper(max_new_tokens=9, stop_strings=[""], tokenizer=tokenizer).cut([], [1, 2]) == ([1, 2], None)
