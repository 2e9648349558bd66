"""Grouped products equal a loop over slots, for any choice of experts, empty ones and odd sizes included."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tenfold.systems.moe.grouped import _gathered, expert_sum, fits_grouped_mm


def slot_by_slot(x, expert, weight, gate_up, down):
    out = torch.zeros_like(x, dtype=torch.float64)
    for token in range(len(x)):
        for place in range(expert.shape[1]):
            i = int(expert[token, place])
            gate, up = (gate_up[i].double() @ x[token].double()).chunk(2)
            out[token] += weight[token, place].double() * (down[i].double() @ (functional.silu(gate) * up))
    return out


def inputs(tokens: int, chosen: int, experts: int, width: int, wide: int, seed: int, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, width, generator=generator).to(dtype)
    expert = torch.stack([torch.randperm(experts, generator=generator)[:chosen] for _ in range(tokens)])
    weight = torch.rand(tokens, chosen, generator=generator).to(dtype)
    gate_up = (torch.randn(experts, 2 * wide, width, generator=generator) / width**0.5).to(dtype)
    down = (torch.randn(experts, width, wide, generator=generator) / wide**0.5).to(dtype)
    return x, expert, weight, gate_up, down


@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(1, 30),
    chosen=st.integers(1, 4),
    experts=st.integers(4, 12),
    width=st.sampled_from([5, 8, 12]),
    wide=st.sampled_from([3, 4, 8]),
    seed=st.integers(0, 999),
    grad=st.booleans(),
)
def test_any_shape_equals_the_slow_loop(tokens, chosen, experts, width, wide, seed, grad) -> None:
    given_ = inputs(tokens, chosen, experts, width, wide, seed)
    with torch.set_grad_enabled(grad):
        assert (expert_sum(*given_) - slot_by_slot(*given_)).abs().max() <= 1e-5


@pytest.mark.parametrize("width", [8, 5])
def test_an_expert_without_tokens_gets_a_zero_gradient(width: int) -> None:
    x, _, weight, gate_up, down = inputs(12, 2, 6, width, 8, seed=4)
    expert = torch.tensor([[1, 4]] * 12)
    gate_up.requires_grad_()
    down.requires_grad_()
    expert_sum(x, expert, weight, gate_up, down).square().sum().backward()
    for grad in (gate_up.grad, down.grad):
        assert grad is not None and grad.isfinite().all()
        assert not grad[[0, 2, 3, 5]].any() and grad[[1, 4]].any()


@pytest.mark.parametrize(("width", "dtype"), [(8, torch.float32), (5, torch.float32), (8, torch.float64)])
def test_gradients_are_those_of_the_slow_loop(width: int, dtype: torch.dtype) -> None:
    found = []
    for compute in (expert_sum, slot_by_slot):
        x, expert, weight, gate_up, down = inputs(11, 3, 6, width, 8, seed=7, dtype=dtype)
        leaves = [each.requires_grad_() for each in (x, weight, gate_up, down)]
        compute(x, expert, weight, gate_up, down).double().sin().sum().backward()
        found.append([leaf.grad for leaf in leaves])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_frozen_weights_get_no_gradient() -> None:
    x, expert, weight, gate_up, down = inputs(11, 3, 6, 8, 8, seed=7)
    x.requires_grad_()
    expert_sum(x, expert, weight, gate_up, down).sum().backward()
    assert x.grad is not None and gate_up.grad is None and down.grad is None


def test_gathered_weights_give_the_same_sum() -> None:
    given_ = inputs(5, 3, 7, 8, 8, seed=2)
    assert (_gathered(*given_) - slot_by_slot(*given_)).abs().max() <= 1e-5


def test_what_torchs_grouped_product_does_not_take() -> None:
    assert fits_grouped_mm(torch.empty(2, 8, 8))
    assert not fits_grouped_mm(torch.empty(2, 8, 8, dtype=torch.float64))
    assert not fits_grouped_mm(torch.empty(2, 8, 6))
    assert not fits_grouped_mm(torch.empty(2, 8, 4, dtype=torch.bfloat16))


def test_bf16_is_near_the_float64_loop() -> None:
    given_ = inputs(24, 3, 6, 16, 16, seed=1, dtype=torch.bfloat16)
    assert (expert_sum(*given_).double() - slot_by_slot(*given_)).abs().max() <= 0.05
