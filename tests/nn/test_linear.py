"""Packing never changes a weight: the scale is a power of two under which every value fits into fp16, or there is none."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.nn import linear

needs_packing = pytest.mark.skipif(not linear.packing_available(), reason="this torch has no FBGEMM kernels")
LOWEST, HIGHEST = -126, 127  # exponents of normal float32 values


@st.composite
def bf16_matrices(draw, spread=31):
    """bf16 values whose exponents lie within `spread` of each other, anywhere in the range of normal numbers; zeros too."""
    base = draw(st.integers(LOWEST, HIGHEST - spread))
    offsets = draw(st.lists(st.integers(0, spread), min_size=2, max_size=12))
    fractions = draw(st.lists(st.integers(0, 127), min_size=len(offsets), max_size=len(offsets)))
    values = [(1 + part / 128) * 2.0 ** (base + offset) for offset, part in zip(offsets, fractions, strict=True)]
    signs = draw(st.lists(st.sampled_from([-1, 1, 0]), min_size=len(values), max_size=len(values)))
    weight = torch.tensor([sign * value for sign, value in zip(signs, values, strict=True)], dtype=torch.float64)
    return weight.to(torch.bfloat16)[None]


@given(weight=bf16_matrices())
def test_bf16_values_within_32_binades_always_pack(weight):
    scale = linear.exact_scale(weight)
    assert scale is not None
    assert math.log2(scale).is_integer()
    packed = (weight.float() * scale).half()
    assert torch.equal(packed.double() / scale, weight.double())


@given(weight=bf16_matrices(spread=60) | bf16_matrices().map(lambda weight: weight.float() * 1.0009765625))
def test_a_scale_is_given_only_where_it_is_exact(weight):
    scale = linear.exact_scale(weight)
    if scale is not None:
        scaled = weight.double() * scale
        assert torch.isfinite(scaled.half()).all()
        assert torch.equal(scaled.half().double(), scaled)


@pytest.mark.parametrize("bad", [[1.0, float("nan")], [1.0, float("inf")], [2.0**15, 2.0**-40]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_does_not_fit_gets_the_native_kernel(bad, dtype):
    weight = torch.tensor([bad], dtype=dtype)
    assert linear.exact_scale(weight) is None
    assert isinstance(linear.build(weight, kernel="packed"), linear.NativeLinear)


def test_zeros_pack():
    assert linear.exact_scale(torch.zeros(2, 3)) == 1.0
    assert linear.exact_scale(torch.zeros(2, 3, dtype=torch.bfloat16)) == 1.0


@needs_packing
@given(
    rows=st.integers(1, 40), inputs=st.integers(1, 70), outputs=st.integers(1, 70), seed=st.integers(0, 99),
    exponent=st.integers(-110, 100), has_bias=st.booleans(),
)  # fmt: skip
def test_packed_product_is_the_float64_product(rows, inputs, outputs, seed, exponent, has_bias):
    generator = torch.Generator().manual_seed(seed)
    weight = (torch.randn(outputs, inputs, generator=generator) * 2.0**exponent).bfloat16()
    bias = torch.randn(outputs, generator=generator).bfloat16() if has_bias else None
    x = torch.randn(rows, inputs, generator=generator)
    packed = linear.build(weight, bias, kernel="packed")
    assert isinstance(packed, linear.PackedLinear)
    expected = torch.nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    size = x.double().abs() @ weight.double().abs().T + (0 if bias is None else bias.double().abs())
    assert ((packed(x).double() - expected).abs() <= 1e-5 * size).all()
    if not has_bias:
        assert torch.equal(packed(torch.eye(inputs)).T, weight.float())


@given(seed=st.integers(0, 99), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_native_product_is_torchs_own(seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    x, weight, bias = (torch.randn(*size, generator=generator) for size in ((3, 5), (4, 5), (4,)))
    y = linear.build(weight.to(dtype), bias.to(dtype), kernel="native")(x)
    assert y.dtype == torch.float32
    assert torch.allclose(y, x @ weight.T + bias, atol=1e-5 if dtype == torch.float32 else 0.1)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(8, 8, 6), (1, 8, 8), (5, 40, 10), (7, 33, 17), (3, 64, 1)])
def test_int8_products_of_any_shape_equal_the_product_of_their_own_weights(rows, inputs, outputs):
    generator = torch.Generator().manual_seed(rows)
    weight_OI, x_NI = torch.randn(outputs, inputs, generator=generator), torch.randn(rows, inputs, generator=generator)
    matrix = linear.Int8Linear(weight_OI)
    applied_OI, _ = matrix.unpack()
    assert applied_OI.shape == weight_OI.shape
    assert torch.allclose(matrix(x_NI), x_NI @ applied_OI.T, atol=0.03 * float(applied_OI.abs().sum(1).max()) ** 0.5)
