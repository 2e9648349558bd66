"""Matrix products for decoding: few rows, many weights, so reading the weights is what takes the time.

`PackedLinear` keeps bf16 weights as fp16 panels and multiplies float32 activations into a float32 sum (FBGEMM).
It reads two bytes a weight, needs no bf16 instructions, and up to six rows cost about as much as one. bf16 values
whose exponents span less than 32 binades are exactly representable in fp16 after one power-of-two scale; a matrix
for which that does not hold is refused (`exact_scale` returns None), so packing never changes a weight.
`CompiledLinear` (`compiled.py`) is the engine's own product of bf16 weights, on processors with bf16 instructions.
`NativeLinear` is torch's own product in the dtype of the weights, for everything else.
`Int8Linear` rounds the weights to 255 steps per output: half the bytes, but another model.
`TrimmedLinear` computes some outputs of another map only, for a head with a smaller vocabulary.
"""

# N rows, I inputs, O outputs, n chosen outputs
import math
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from tenfold.nn.compiled import CompiledLinear

Kernel = Literal["compiled", "packed", "native", "int8"]

INT8_BLOCK = 64
"""torch's int8 product with AVX512 reads its inputs in whole blocks, beyond the end of a row that is no multiple of them."""

SMALLEST_SCALE = 1e-30
"""Stands in for the largest weight of an output whose weights are all zero."""


LARGEST_SCALE_EXPONENT = 126
"""Beyond it the scale or its inverse is no normal float32."""


class Linear(Protocol):
    """x [N, I] float32 -> y [N, O] float32."""

    def __call__(self, x_NI: Tensor) -> Tensor: ...

    def unpack(self) -> tuple[Tensor, Tensor | None]:
        """The weights [O, I] and the bias [O] that the map applies, float32."""
        ...


class NativeLinear:
    """torch's product in the weights' own dtype."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None) -> None:
        self.weight_OI = weight_OI.contiguous()
        self.bias_O = bias_O

    @property
    def is_coarse(self) -> bool:
        """Whether the result is rounded to 16 bits."""
        return self.weight_OI.dtype.itemsize == 2

    def __call__(self, x_NI: Tensor) -> Tensor:
        return functional.linear(x_NI.to(self.weight_OI.dtype), self.weight_OI, self.bias_O).float()

    def unpack(self) -> tuple[Tensor, Tensor | None]:
        return self.weight_OI.float(), None if self.bias_O is None else self.bias_O.float()


class PackedLinear:
    """fp16 panels times float32 rows, accumulated in float32."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, scale: float) -> None:
        bias = None if bias_O is None else bias_O.float() * scale
        self.panels = torch.ops.quantized.linear_prepack_fp16(weight_OI.float() * scale, bias)
        self.unscale = 1 / scale

    def __call__(self, x_NI: Tensor) -> Tensor:
        y_NO = torch.ops.quantized.linear_dynamic_fp16(x_NI, self.panels)
        return y_NO if self.unscale == 1 else y_NO.mul_(self.unscale)

    def unpack(self) -> tuple[Tensor, Tensor | None]:
        weight_OI, bias_O = torch.ops.quantized.linear_unpack_fp16(self.panels)
        return weight_OI * self.unscale, None if bias_O is None else bias_O * self.unscale


class Int8Linear:
    """int8 weights with one scale per output, times bf16 rows (torch's float32 variant is many times slower)."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None) -> None:
        weight_OI = weight_OI.float()
        self.scale_O = (weight_OI.abs().amax(1).clamp_min(SMALLEST_SCALE) / 127).bfloat16()
        steps_OI = (weight_OI / self.scale_O[:, None].float()).round_().clamp_(-127, 127).to(torch.int8)
        self.num_inputs, self.padding = weight_OI.shape[1], (0, -weight_OI.shape[1] % INT8_BLOCK)
        self.steps_OI = functional.pad(steps_OI, self.padding).contiguous()
        self.bias_O = None if bias_O is None else bias_O.float()

    def __call__(self, x_NI: Tensor) -> Tensor:
        x_NI = functional.pad(x_NI.bfloat16(), self.padding)
        y_NO = torch.ops.aten._weight_int8pack_mm(x_NI, self.steps_OI, self.scale_O).float()
        return y_NO if self.bias_O is None else y_NO.add_(self.bias_O)

    def unpack(self) -> tuple[Tensor, Tensor | None]:
        return self.steps_OI[:, : self.num_inputs] * self.scale_O[:, None].float(), self.bias_O


class TrimmedLinear:
    """The chosen outputs of another map, at their old places; every other output is -inf."""

    def __init__(self, full: Linear, chosen_n: Tensor, *, kernel: Kernel) -> None:
        weight_OI, bias_O = full.unpack()
        if isinstance(full, CompiledLinear):
            weight_OI = weight_OI.bfloat16()  # as it was: unpacking changes no weight
        self.num_outputs, self.chosen_n = len(weight_OI), chosen_n
        self.chosen = build(weight_OI[chosen_n], None if bias_O is None else bias_O[chosen_n], kernel=kernel)

    def __call__(self, x_NI: Tensor) -> Tensor:
        return _spread(self.chosen(x_NI), self.chosen_n, self.num_outputs, float("-inf"))

    def unpack(self) -> tuple[Tensor, Tensor | None]:
        """Rows of zeros and a bias of -inf say the same in terms of weights."""
        weight_nI, bias_n = self.chosen.unpack()
        bias_1n = (torch.zeros_like(weight_nI[:, 0]) if bias_n is None else bias_n)[None]
        weight_OI = _spread(weight_nI.T, self.chosen_n, self.num_outputs, 0.0).T
        return weight_OI, _spread(bias_1n, self.chosen_n, self.num_outputs, float("-inf"))[0]


def packing_available() -> bool:
    """Whether this torch build has the FBGEMM kernels (x86 processors)."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def exact_scale(weight: Tensor) -> float | None:
    """The power of two under which `weight` is exactly representable in fp16, or None if there is none."""
    if weight.dtype == torch.bfloat16 and _spans_fp16(weight):
        return 1.0
    weight = weight.float()
    largest = weight.abs().max().item()
    if not math.isfinite(largest):
        return None
    if torch.equal(weight.half().float(), weight):
        return 1.0
    scale = 2.0 ** min(15 - math.ceil(math.log2(largest)), LARGEST_SCALE_EXPONENT)
    scaled = weight * scale
    return scale if torch.equal(scaled.half().float(), scaled) else None


def _spans_fp16(weight: Tensor) -> bool:
    """Whether each bf16 value is 0 or of magnitude 2^-17 to 2^15, where fp16 holds all 8 significant bits.

    Looks at the bits, as loading would otherwise spend a third of its time here.
    """
    magnitude = weight.contiguous().view(torch.int16) & 0x7FFF
    smallest, largest = (127 - 17) << 7, (127 + 15) << 7
    return not bool((((magnitude < smallest) & (magnitude > 0)) | (magnitude > largest)).any())


def build(weight_OI: Tensor, bias_O: Tensor | None = None, *, kernel: Kernel) -> Linear:
    """A linear map on the kernel asked for.

    Only bf16 weights are compiled, others are packed; a matrix that cannot be packed exactly gets torch's own product.
    """
    if kernel == "int8":
        return Int8Linear(weight_OI, bias_O)
    if kernel == "compiled" and weight_OI.dtype == torch.bfloat16:
        return CompiledLinear(weight_OI, bias_O)
    scale = exact_scale(weight_OI) if kernel != "native" and packing_available() else None
    return NativeLinear(weight_OI, bias_O) if scale is None else PackedLinear(weight_OI, bias_O, scale)


def _spread(y_Nn: Tensor, chosen_n: Tensor, num_outputs: int, rest: float) -> Tensor:
    return y_Nn.new_full((len(y_Nn), num_outputs), rest).index_copy_(1, chosen_n, y_Nn)
