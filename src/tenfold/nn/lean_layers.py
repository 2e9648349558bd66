"""Decoder layers of the Llama architecture, over a cache: from torch's operations, or compiled (`compiled.py`).

Fused products, the rotary embedding as one complex product, keys and values written in place, attention over the
live part of the cache without repeating shared heads. Activations and sums are float32, but for products of 16-bit
weights that torch multiplies as they are.
"""

# A rows of the cache that take part, K tokens each, N tokens of a pass, D model width, H heads (queries, then keys,
# then values), Q = K * query heads per key-value head, F half the head width, S slots
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from tenfold.nn import compiled, lean_weights, rows_library
from tenfold.nn.kv_cache import BLOCK, KVCache, whole_blocks
from tenfold.nn.masks import pass_mask, slot_mask
from tenfold.nn.pass_rows import PassRows


class Layers(Protocol):
    """The layers of a model; they write keys and values behind the cached ones and leave the cache's lengths alone."""

    takes_any_counts: bool
    """Whether the rows of a pass may have different numbers of tokens."""

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
        """Runs layers `first` to `end` over `x_ND` (float32), in place.

        The cache has room for the tokens of `places`. `rotation_NF` (complex) turns each token to its position; without
        `ancestors_KK` a token sees itself and all of its row before it. `visible_NS` (bool) says it slot by slot instead,
        for the cached slots of a token's row and the new ones behind them; every token sees at least one.
        """
        ...


def layers_of(weights: lean_weights.Weights) -> Layers:
    """The fastest way to run these weights."""
    products = [product for layer in weights.layers for product in layer.products]
    if not all(isinstance(product, compiled.CompiledLinear) for product in products):
        return TorchLayers(weights)
    shape = weights.shape
    sizes = (weights.embedding_VD.shape[1], shape.num_heads, shape.num_kv_heads, shape.head_width)
    entries = [
        rows_library.Layer(
            layer.attention_norm_D.data_ptr(),
            layer.mlp_norm_D.data_ptr(),
            *(product.matrix for product in layer.products if isinstance(product, compiled.CompiledLinear)),
        )
        for layer in weights.layers
    ]
    return compiled.CompiledLayers(entries, sizes, shape.eps, owner=weights)


def rms_norm(x_ND: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """RMSNorm; composed from few operations because torch's own is slow on a CPU for a few rows."""
    mean_square_N1 = torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True).square_().div_(x_ND.shape[-1])
    return (x_ND * weight_D).mul_(mean_square_N1.add_(eps).rsqrt_())


@dataclass(frozen=True)
class Neighbours:
    """Rows side by side in the cache, which attend in one product."""

    among: slice
    """Which of the pass's rows they are."""
    mask_A1QS: Tensor
    keys: Sequence[Tensor]
    values: Sequence[Tensor]


@dataclass(frozen=True)
class Frame:
    """What all layers of one pass share."""

    num_rows: int
    width: int
    first: int
    """The first slot that the masks cover; all before it are visible to every row."""
    rotation_AHKF: Tensor
    """Complex, for query and key heads; the queries' part carries the attention scale."""
    neighbours: Sequence[Neighbours]
    slots: Sequence[Sequence[Tensor]]


class TorchLayers:
    """Layers composed of torch's operations, on any device and with any kernel."""

    takes_any_counts = False

    def __init__(self, weights: lean_weights.Weights) -> None:
        self.weights, self.shape = weights, weights.shape

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
        frame = self._frame(cache, places, rotation_NF, ancestors_KK, visible_NS)
        for index in range(first, end):
            self._layer(self.weights.layers[index], index, x_ND, frame)

    def _frame(
        self,
        cache: KVCache,
        places: PassRows,
        rotation_NF: Tensor,
        ancestors_KK: Tensor | None,
        visible_NS: Tensor | None,
    ) -> Frame:
        width, num_rows, device = places.width, len(places.rows), rotation_NF.device
        lengths = [cache.lengths[row] for row in places.rows]
        first, end = min(lengths), whole_blocks(max(lengths) + width)
        if visible_NS is None:
            mask_AKS = pass_mask(lengths, width, first=first, end=end, ancestors_KK=ancestors_KK, device=device)
        else:
            first, mask_AKS = 0, slot_mask(visible_NS.to(device).view(num_rows, width, -1), end)
        mask_A1QS = mask_AKS.repeat(1, self.shape.group, 1)[:, None]
        rotation_A1KF = rotation_NF.view(num_rows, 1, width, -1)
        return Frame(
            num_rows=num_rows,
            width=width,
            first=first,
            rotation_AHKF=torch.cat([rotation_A1KF * scale for scale in self._head_scales], dim=1),
            neighbours=[
                Neighbours(among, mask_A1QS[among], *cache.live(end, in_cache)) for among, in_cache in places.runs()
            ],
            slots=[cache.slots_for(row, width) for row in places.rows],
        )

    @cached_property
    def _head_scales(self) -> list[float]:
        return [self.shape.head_width**-0.5] * self.shape.num_heads + [1.0] * self.shape.num_kv_heads

    def _layer(self, layer: lean_weights.Layer, index: int, x_ND: Tensor, frame: Frame) -> None:
        """One decoder layer: writes the new keys and values into their slots, adds to `x_ND` in place."""
        shape = self.shape
        qkv_ND = layer.qkv(rms_norm(x_ND, layer.attention_norm_D, shape.eps))
        heads_AHKD = qkv_ND.view(frame.num_rows, frame.width, -1, shape.head_width).transpose(1, 2)
        torch.view_as_complex(heads_AHKD[:, : shape.num_rotated].unflatten(-1, (-1, 2))).mul_(frame.rotation_AHKF)
        for row, slots in enumerate(frame.slots):
            slots[index].copy_(heads_AHKD[row, shape.num_heads :].unflatten(0, (2, -1)))
        mixed = [self._attend(heads_AHKD[some.among, : shape.num_heads], index, some, frame) for some in frame.neighbours]
        x_ND += layer.output(mixed[0] if len(mixed) == 1 else torch.cat(mixed))
        gate_NF, up_NF = layer.gate_up(rms_norm(x_ND, layer.mlp_norm_D, shape.eps)).chunk(2, dim=-1)
        x_ND += layer.down(functional.silu(gate_NF).mul_(up_NF))

    def _attend(self, queries_AHKD: Tensor, index: int, some: Neighbours, frame: Frame) -> Tensor:
        """The query heads that share a key-value head attend as one product; returns [N, query heads * head width]."""
        shape, num_rows = self.shape, len(queries_AHKD)
        grouped = queries_AHKD.reshape(num_rows * shape.num_kv_heads, shape.group * frame.width, -1)
        scores = torch.bmm(grouped, some.keys[index])
        scores.unflatten(0, (num_rows, -1))[..., frame.first :] += some.mask_A1QS
        mixed = _mix(scores.softmax(-1), some.values[index])
        heads_AHKD = mixed.view(num_rows, shape.num_heads, frame.width, -1)
        return heads_AHKD.transpose(1, 2).reshape(num_rows * frame.width, -1)


def _mix(weights_MS: Tensor, values_SD: Tensor) -> Tensor:
    """The weighted sum of the values, block by block (a batch of each): a product over all slots at once may split them
    differently when it covers more, so that empty slots at the end would change the bits.
    """
    pairs = zip(weights_MS.split(BLOCK, dim=-1), values_SD.split(BLOCK, dim=-2), strict=True)
    mixed_MD = torch.bmm(*next(pairs))
    for block_MS, block_SD in pairs:
        mixed_MD.baddbmm_(block_MS, block_SD)
    return mixed_MD
