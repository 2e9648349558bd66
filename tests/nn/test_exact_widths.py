"""The bit law: a token's logits do not depend on which passes computed it, to the last bit."""

# B rows, K tokens of a pass, V vocabulary
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tenfold.nn import linear, widths
from tenfold.nn.kv_cache import BLOCK
from tenfold.nn.lean_llama import FIXED_WIDTH, LeanLlama

NUM_TOKENS = 2 * BLOCK + 40
THREE_QUERIES_A_HEAD = {
    "hidden_size": 48,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "max_position_embeddings": 640,
}
KERNELS = ["native", *(["packed"] if linear.packing_available() else [])]


@pytest.fixture(scope="module", params=KERNELS)
def engine(new_tiny_model: Callable, request: pytest.FixtureRequest) -> LeanLlama:
    model = new_tiny_model(**THREE_QUERIES_A_HEAD)
    return LeanLlama(model.config, model.state_dict(), kernel=request.param)


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    return torch.randint(0, 97, (NUM_TOKENS,), generator=torch.Generator().manual_seed(1)).tolist()


@pytest.fixture(scope="module")
def one_by_one(engine: LeanLlama, tokens: list[int]) -> Tensor:
    return fed(engine, tokens, [1] * len(tokens))


def fed(engine: LeanLlama, tokens: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """The logits [T, V] of tokens fed in passes of the given sizes."""
    engine.reset()
    return torch.cat([engine.forward(piece[None])[0] for piece in torch.tensor(tokens).split(list(sizes))])


def cut(total: int, sizes: Sequence[int]) -> list[int]:
    """The sizes, repeated and cut so that they add up to `total`."""
    pieces: list[int] = []
    while sum(pieces) < total:
        pieces.append(min(sizes[len(pieces) % len(sizes)], total - sum(pieces)))
    return pieces


def test_engine_claims_exactness(engine):
    assert engine.exactness == "bit"


def test_every_exact_width_gives_the_same_bits_at_every_place(engine, tokens, one_by_one):
    for width in sorted(engine.exact_widths):
        assert torch.equal(fed(engine, tokens, cut(NUM_TOKENS, [width])), one_by_one), f"a pass of {width} tokens differs"


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(1, 36), min_size=1, max_size=8))
def test_no_split_into_passes_changes_a_bit(engine, tokens, one_by_one, sizes):
    assert torch.equal(fed(engine, tokens, cut(NUM_TOKENS, sizes)), one_by_one)


@settings(max_examples=10)
@given(end=st.integers(1, NUM_TOKENS))
def test_prefill_gives_the_bits_of_decoding(engine, tokens, one_by_one, end):
    engine.reset()
    assert torch.equal(engine.prefill([tokens[:end]])[0], one_by_one[end - 1])


@settings(max_examples=10)
@given(length=st.integers(1, 60), wrong=st.lists(st.integers(0, 96), min_size=1, max_size=20))
def test_what_was_rolled_back_leaves_no_trace(engine, tokens, one_by_one, length, wrong):
    fed(engine, tokens[:length], cut(length, [7]))
    engine.forward(torch.tensor([wrong]))
    engine.rollback([len(wrong)])
    assert torch.equal(engine.forward(torch.tensor([tokens[length : length + 5]]))[0], one_by_one[length : length + 5])


def test_cache_growth_changes_no_bit(engine, tokens, one_by_one):
    engine.reset()
    engine.cache.reserve(4 * BLOCK)
    roomy = engine.forward(torch.tensor([tokens[:30]]))[0]
    engine.cache = engine._new_cache(1)
    engine.reset()
    assert torch.equal(engine.forward(torch.tensor([tokens[:30]]))[0], roomy)
    assert torch.equal(roomy, one_by_one[:30])


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_a_row_of_a_batch_has_the_bits_it_has_alone(engine, tokens, one_by_one, new_tiny_model, batch_size):
    model = new_tiny_model(**THREE_QUERIES_A_HEAD)
    batch = LeanLlama(model.config, model.state_dict(), kernel=engine.kernel, batch_size=batch_size)
    starts = [1 + 11 * row for row in range(batch_size)]
    assert batch.exactness == "bit"
    last_BV = batch.prefill([tokens[:start] for start in starts])
    logits_BKV = batch.forward(torch.tensor([tokens[start : start + 4] for start in starts]))
    for row, start in enumerate(starts):
        assert torch.equal(last_BV[row], one_by_one[start - 1])
        assert torch.equal(logits_BKV[row], one_by_one[start : start + 4])


@given(table=st.dictionaries(st.integers(1, 20), st.integers(0, 2), min_size=1))
def test_exact_class_is_the_largest_group_of_agreeing_widths(table):
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))

    def pass_with_noise(x, _):
        return x + 0.5 * table[len(x)]

    groups = [{w for w in table if table[w] == noise} for noise in set(table.values())]
    found = widths.exact_class(lambda: pass_with_noise, rows, table)
    assert found in groups
    assert (-len(found), min(found)) == min((-len(group), min(group)) for group in groups)


@pytest.mark.parametrize("bad_place", [0, 5, 13, 19])
def test_exact_class_notices_a_single_bad_place(bad_place):
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))

    def spoiled(x, _):
        y = x.clone()
        if len(x) == 20:
            y[bad_place, 0] += 1e-3
        return y

    assert widths.exact_class(lambda: spoiled, rows, [1, 2, 8, 16, 20]) == {1, 2, 8, 16}


@given(exact=st.frozensets(st.integers(1, 64)), needed=st.integers(1, 70), batch_size=st.integers(1, 5))
def test_fit_is_the_narrowest_exact_pass(exact, needed, batch_size):
    good = [k for k in range(needed, 65) if k in exact and k * batch_size in exact]
    assert widths.fit(exact, needed, batch_size) == (min(good) if good else None)


def test_products_of_16_bits_get_one_fixed_width(new_tiny_model, tokens):
    model = new_tiny_model(**THREE_QUERIES_A_HEAD).bfloat16()
    coarse = LeanLlama(model.config, model.state_dict(), kernel="native")
    assert coarse.exact_widths == {FIXED_WIDTH}
    assert coarse.exactness == "bit"
    some = tokens[:90]
    assert torch.equal(fed(coarse, some, [1] * 90), fed(coarse, some, cut(90, [5, 13, 2, 30])))


def test_a_chain_wider_than_any_exact_width_is_split(engine, tokens, one_by_one):
    assert torch.equal(fed(engine, tokens, [100, NUM_TOKENS - 100]), one_by_one)
