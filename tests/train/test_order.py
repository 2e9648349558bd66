"""Batches of rows of like length: every row once, little padding, another order by seed; LoRA on the upper layers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.config import parse
from tenfold.core.errors import ConfigError
from tenfold.train.adapters import LoraSettings, target_names
from tenfold.train.encoding import EncodedRow
from tenfold.train.order import by_length


def rows_of(lengths):
    return [EncodedRow(str(place), (0,) * length, 0) for place, length in enumerate(lengths)]


def padding(rows, batch_size):
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return sum(max(len(row.ids) for row in batch) * len(batch) - sum(len(row.ids) for row in batch) for batch in batches)


@given(st.lists(st.integers(1, 90), max_size=60), st.integers(1, 7), st.integers(0, 5))
def test_every_row_comes_once_and_the_same_each_time(lengths, batch_size, seed):
    rows = rows_of(lengths)
    ordered = by_length(rows, batch_size, seed=seed)
    assert sorted(row.id for row in ordered) == sorted(row.id for row in rows)
    assert ordered == by_length(rows, batch_size, seed=seed)


def test_little_is_padded_and_batches_come_in_random_order():
    rows = rows_of([1 + place * 37 % 100 for place in range(400)])
    ordered = by_length(rows, 8, seed=0)
    assert padding(ordered, 8) < padding(rows, 8) / 8
    firsts = [len(ordered[start].ids) for start in range(0, 400, 8)]
    assert firsts != sorted(firsts)
    assert by_length(rows, 8, seed=1) != ordered


def test_lora_from_a_layer_on(tiny_llama):
    every = target_names(tiny_llama, parse(LoraSettings, {}))
    upper = target_names(tiny_llama, parse(LoraSettings, {"first_layer": 1}))
    assert upper == [name for name in every if ".layers.1." in name] and len(upper) == len(every) // 2
    with pytest.raises(ConfigError, match="no such layer"):
        target_names(tiny_llama, parse(LoraSettings, {"first_layer": 2}))
