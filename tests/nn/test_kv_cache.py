"""The cache against plain lists: every row is a list of tokens that grows, shrinks and is compacted."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.nn.kv_cache import BLOCK, KVCache, whole_blocks

LAYERS, HEADS, WIDTH = 2, 3, 4


def new_cache(batch_size):
    return KVCache(LAYERS, batch_size, HEADS, WIDTH, device=torch.device("cpu"))


def write(cache, values_BK):
    """Appends one number per row and token, marked by its layer, part and head."""
    num_tokens = len(values_BK[0])
    cache.reserve(max(cache.lengths) + num_tokens)
    for row, values in enumerate(values_BK):
        for layer, view in enumerate(cache.slots_for(row, num_tokens)):
            view.copy_(marked(values, layer))
    cache.advance(range(len(values_BK)), [num_tokens] * len(values_BK))


def marked(values, layer):
    base = torch.tensor(values, dtype=torch.float32)[None, None, :, None]
    part, head = torch.arange(2)[:, None, None, None], torch.arange(HEADS)[None, :, None, None]
    return (base * 100 + layer * 10 + part * 3 + head).expand(2, HEADS, len(values), WIDTH)


def check(cache, rows):
    assert list(cache.lengths) == [len(row) for row in rows]
    keys, values = cache.live(whole_blocks(max(map(len, rows))))
    for layer in range(LAYERS):
        for index, row in enumerate(rows):
            heads = slice(index * HEADS, (index + 1) * HEADS)
            expected = marked(row, layer)
            assert torch.equal(keys[layer][heads, :, : len(row)].transpose(1, 2), expected[0])
            assert torch.equal(values[layer][heads, : len(row)], expected[1])


@given(data=st.data(), batch_size=st.integers(1, 3))
def test_cache_is_a_list_of_tokens_for_each_row(data, batch_size):
    cache, rows, fresh = new_cache(batch_size), [[] for _ in range(batch_size)], iter(range(1, 10**6))
    for _ in range(data.draw(st.integers(1, 6))):
        num_tokens = data.draw(st.sampled_from([1, 3, BLOCK - 1, BLOCK]))
        values = [[next(fresh) for _ in range(num_tokens)] for _ in rows]
        write(cache, values)
        rows = [row + new for row, new in zip(rows, values, strict=True)]
        if data.draw(st.booleans()):
            counts = [data.draw(st.integers(0, len(row))) for row in rows]
            cache.rollback(counts)
            rows = [row[: len(row) - count] for row, count in zip(rows, counts, strict=True)]
        else:
            index = data.draw(st.integers(0, batch_size - 1))
            start = data.draw(st.integers(0, len(rows[index])))
            places = (
                st.sets(st.integers(start, len(rows[index]) - 1), max_size=5) if start < len(rows[index]) else st.just(set())
            )
            slots = sorted(data.draw(places))
            cache.keep(index, start, slots)
            rows[index] = rows[index][:start] + [rows[index][slot] for slot in slots]
    check(cache, rows)


@given(st.integers(0, 5000))
def test_whole_blocks_cover_and_do_not_waste(num_slots):
    covered = whole_blocks(num_slots)
    assert covered % BLOCK == 0
    assert num_slots <= covered < num_slots + BLOCK


@pytest.mark.parametrize("counts", [[4, 0], [0, -1]])
def test_rolling_back_what_is_not_there_is_refused_and_changes_nothing(counts):
    cache = new_cache(2)
    write(cache, [[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ValueError, match="cannot roll back"):
        cache.rollback(counts)
    assert cache.lengths == [3, 3]


def test_rows_advance_and_are_seen_apart_from_the_others():
    cache = new_cache(3)
    write(cache, [[1], [2], [3]])
    cache.reserve(8)
    for layer, view in enumerate(cache.slots_for(2, 2)):
        view.copy_(marked([4, 5], layer))
    cache.advance([2], [2])
    check(cache, [[1], [2], [3, 4, 5]])
    whole, some = cache.live(3), cache.live(3, slice(1, 3))
    for part in range(2):
        assert torch.equal(some[part][1], whole[part][1][HEADS:])
