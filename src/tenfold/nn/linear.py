"""Matrix products for decoding: few rows, many weights, so reading the weights is what takes the time.

`PackedLinear` keeps bf16 weights as fp16 panels and multiplies float32 activations into a float32 sum (FBGEMM).
It reads two bytes a weight, needs no bf16 instructions, and up to six rows cost about as much as one. bf16 values
whose exponents span less than 32 binades are exactly representable in fp16 after one power-of-two scale; a matrix
for which that does not hold is refused (`exact_scale` returns None), so packing never changes a weight.
`NativeLinear` is torch's own product in the dtype of the weights, for everything else.
"""

# N rows, I inputs, O outputs
import math
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Kernel = Literal["packed", "native"]


LARGEST_SCALE_EXPONENT = 126
"""Beyond it the scale or its inverse is no normal float32."""


class Linear(Protocol):
    """x [N, I] float32 -> y [N, O] float32."""

    def __call__(self, x_NI: Tensor) -> Tensor: ...


class NativeLinear:
    """torch's product in the weights' own dtype."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None) -> None:
        self.weight_OI = weight_OI.contiguous()
        self.bias_O = bias_O

    def __call__(self, x_NI: Tensor) -> Tensor:
        return functional.linear(x_NI.to(self.weight_OI.dtype), self.weight_OI, self.bias_O).float()


class PackedLinear:
    """fp16 panels times float32 rows, accumulated in float32."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, scale: float) -> None:
        bias = None if bias_O is None else bias_O.float() * scale
        self.panels = torch.ops.quantized.linear_prepack_fp16(weight_OI.float() * scale, bias)
        self.unscale = 1 / scale

    def __call__(self, x_NI: Tensor) -> Tensor:
        y_NO = torch.ops.quantized.linear_dynamic_fp16(x_NI, self.panels)
        return y_NO if self.unscale == 1 else y_NO.mul_(self.unscale)


def packing_available() -> bool:
    """Whether this torch build has the FBGEMM kernels (x86 processors)."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def default_kernel(device: torch.device) -> Kernel:
    """Packed where this machine can, else torch's own."""
    return "packed" if device.type == "cpu" and packing_available() else "native"


def exact_scale(weight: Tensor) -> float | None:
    """The power of two under which `weight` is exactly representable in fp16, or None if there is none."""
    weight = weight.float()
    largest = weight.abs().max().item()
    if not math.isfinite(largest):
        return None
    if torch.equal(weight.half().float(), weight):
        return 1.0
    scale = 2.0 ** min(15 - math.ceil(math.log2(largest)), LARGEST_SCALE_EXPONENT)
    scaled = weight * scale
    return scale if torch.equal(scaled.half().float(), scaled) else None


def build(weight_OI: Tensor, bias_O: Tensor | None = None, *, kernel: Kernel) -> Linear:
    """A linear map on the kernel asked for; a matrix that cannot be packed exactly gets the native one."""
    scale = exact_scale(weight_OI) if kernel == "packed" else None
    return NativeLinear(weight_OI, bias_O) if scale is None else PackedLinear(weight_OI, bias_O, scale)
