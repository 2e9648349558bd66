"""The engine's own kernels (`rows.c`): a linear map, and a whole stack of decoder layers in one call.

A token's bits do not depend on the pass that computes it: any width, chain or tree, alone or beside others. Weights
must be bf16; inputs of products are rounded to bf16, as with torch's own bf16 product, while sums and everything
between products stay float32.
"""

# N tokens of a pass, K those of one text; I inputs, O outputs, D model width, F half the head width
import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from tenfold.nn import rows_library
from tenfold.nn.kv_cache import KVCache
from tenfold.nn.pass_rows import PassRows

PANEL = 32
"""Outputs that are computed together; as in rows.c."""


class CompiledLinear:
    """bf16 weights in panels, times rows rounded to bf16, summed in float32 in an order of the row's own."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None) -> None:
        assert weight_OI.dtype == torch.bfloat16, f"the compiled product takes bf16 weights, not {weight_OI.dtype}"
        self.num_outputs, self.num_inputs = weight_OI.shape
        padded = functional.pad(weight_OI, (0, self.num_inputs % 2, 0, -self.num_outputs % PANEL))
        self.panels = padded.unflatten(0, (-1, PANEL)).unflatten(2, (-1, 2)).transpose(1, 2).contiguous()
        self.bias_O = None if bias_O is None else bias_O.float().contiguous()
        bias = None if self.bias_O is None else self.bias_O.data_ptr()
        self.matrix = rows_library.Matrix(self.panels.data_ptr(), bias, self.num_inputs, self.num_outputs)

    def __call__(self, x_NI: Tensor) -> Tensor:
        x_NI = x_NI.float().contiguous()
        y_NO = torch.empty(len(x_NI), self.num_outputs)
        rows_library.load().rows_linear(self.matrix, x_NI.data_ptr(), y_NO.data_ptr(), len(x_NI), torch.get_num_threads())
        return y_NO

    def unpack(self) -> tuple[Tensor, Tensor | None]:
        weight_OI = self.panels.transpose(1, 2).flatten(0, 1).flatten(1)[: self.num_outputs, : self.num_inputs]
        return weight_OI.float(), self.bias_O


class CompiledLayers:
    """Decoder layers whose products are all `CompiledLinear`, run over a cache in one call."""

    takes_any_counts = True

    def __init__(self, layers: Sequence[rows_library.Layer], sizes: Sequence[int], eps: float, *, owner: object) -> None:
        """`sizes`: model width, query heads, key-value heads, head width; `owner` keeps the tensors alive."""
        self.layers = (rows_library.Layer * len(layers))(*layers)
        self.sizes, self.eps, self.owner = sizes, eps, owner

    def __call__(
        self,
        x_ND: Tensor,
        cache: KVCache,
        places: PassRows,
        rotation_NF: Tensor,
        ancestors_KK: Tensor | None,
        *,
        first: int,
        end: int,
        visible_NS: Tensor | None = None,
    ) -> None:
        """Adds layers `first` to `end` to `x_ND` (float32) in place; writes their keys and values behind the cached ones."""
        shape = rows_library.Shape(*self.sizes, self.eps, torch.get_num_threads())
        rows, starts, lengths = map(_longs, (places.rows, places.starts, [cache.lengths[row] for row in places.rows]))
        turns = torch.view_as_real(rotation_NF).contiguous()
        sees_KK = None if ancestors_KK is None else ancestors_KK.to(torch.uint8).contiguous()
        seen_NS = None if visible_NS is None else visible_NS.to(torch.uint8).contiguous()
        memory = cache.buffer
        this = rows_library.Pass(
            len(places.rows),
            *map(ctypes.addressof, (rows, starts, lengths)),
            *(turns.data_ptr(), None if sees_KK is None else sees_KK.data_ptr()),
            *((None, 0) if seen_NS is None else (seen_NS.data_ptr(), seen_NS.shape[1])),
            memory.data_ptr(),
            *(memory.stride(0), memory.stride(1), memory.stride(2)),
        )
        rows_library.load().rows_layers(self.layers, shape, this, first, end, x_ND.data_ptr())


def _longs(numbers: Sequence[int]) -> "ctypes.Array[ctypes.c_long]":
    return (ctypes.c_long * len(numbers))(*numbers)
