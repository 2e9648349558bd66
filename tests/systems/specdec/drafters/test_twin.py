"""The int8 twin: close to its target, a model of its own, lossless as drafter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import UserError
from tenfold.nn import linear
from tenfold.nn.linear import Int8Linear
from tenfold.systems.specdec.drafters.early_exit import with_head_rows
from tenfold.systems.specdec.drafters.twin import int8_twin, twin_drafter
from tiny_llama import GREEDY, VOCAB, loaded, plain, speculated, tiny_llama

TARGET = tiny_llama(0)


@settings(deadline=None, max_examples=8)
@given(prompt=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20))
def test_greedy_speculation_with_the_twin_is_lossless(prompt):
    drafter = twin_drafter(loaded(TARGET), GREEDY)
    assert list(speculated(TARGET, drafter, prompt, 16).tokens) == plain(TARGET, prompt, 16)


def test_the_twin_is_mostly_right():
    rounds = speculated(TARGET, twin_drafter(loaded(TARGET), GREEDY), [1, 2, 3], 60).rounds
    assert sum(step.num_accepted for step in rounds) / sum(step.num_drafted for step in rounds) > 0.6


def test_the_twin_has_int8_matrices_and_leaves_the_target_alone():
    before = TARGET.weights.layers[0].qkv
    twin = int8_twin(TARGET)
    assert isinstance(twin.weights.layers[0].qkv, Int8Linear)
    assert (twin.kernel, TARGET.weights.layers[0].qkv) == ("int8", before)
    assert twin.cache is not TARGET.cache


def test_the_twin_equals_the_engine_asked_for_in_int8():
    """`kernel="int8"` rounds the same weights, so that both are one model."""
    asked, twin = tiny_llama(0, kernel="int8"), int8_twin(TARGET)
    assert torch.equal(asked.prefill([[1, 2, 3]]), twin.prefill([[1, 2, 3]]))


@pytest.mark.parametrize("num_rows", [1, 3, 8])
def test_int8_rounds_each_weight_to_the_nearest_step(num_rows):
    generator = torch.Generator().manual_seed(num_rows)
    weight_OI, x_NI = torch.randn(24, 64, generator=generator), torch.randn(num_rows, 64, generator=generator)
    matrix = linear.build(weight_OI, torch.ones(24), kernel="int8")
    rounded_OI, bias_O = matrix.unpack()
    assert bool(((rounded_OI - weight_OI).abs() <= weight_OI.abs().amax(1, keepdim=True) / 127).all())
    assert bias_O is not None
    expected_NO = x_NI.bfloat16().float() @ rounded_OI.T + bias_O
    assert torch.allclose(matrix(x_NI), expected_NO, atol=0.1)


def test_int8_takes_outputs_without_weights():
    assert torch.equal(Int8Linear(torch.zeros(2, 32))(torch.ones(1, 32)), torch.zeros(1, 2))


def test_a_trimmed_target_has_a_trimmed_twin():
    twin = int8_twin(with_head_rows(TARGET, [3, 4, 5]))
    assert int(twin.prefill([[1, 2]]).argmax()) in (3, 4, 5)


def test_another_engine_is_refused():
    with pytest.raises(UserError, match=r"twin.*runs as object"):
        twin_drafter(loaded(object()), GREEDY)
