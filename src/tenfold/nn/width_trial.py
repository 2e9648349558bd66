"""Which pass widths of an engine give equal bits on this machine: tried on its first layer and its head (`widths.py`)."""

# D model width, V vocabulary, F half the head width
from collections.abc import Callable

import torch
from torch import Tensor

from tenfold.nn import widths
from tenfold.nn.kv_cache import KVCache
from tenfold.nn.lean_layers import Layers
from tenfold.nn.pass_rows import one_row

WIDTHS = (*range(1, 17), 18, 20, 24, 30, 48, 60)
"""Pass widths that are tried; the widest serves prefill."""
PREFIXES = (0, 5, 200)
"""Cached tokens under which a layer is tried: an empty cache, a short one, and one of two blocks."""


@torch.inference_mode()
def exact_widths(
    layers: Layers,
    to_logits: Callable[[Tensor], Tensor],
    new_cache: Callable[[], KVCache],
    rotation_SF: Tensor,
    *,
    model_width: int,
) -> frozenset[int]:
    """The widths at which the first layer, over any of PREFIXES, and the way from hidden rows to logits agree.

    Args:
        new_cache: an empty cache of one row and one layer.
        rotation_SF: the rotary table; prefixes beyond it are left out.
    """
    agreed = frozenset(WIDTHS)
    device = rotation_SF.device
    for prefix in PREFIXES:
        if prefix + max(agreed) <= len(rotation_SF):
            agreed &= widths.exact_class(
                lambda prefix=prefix: _first_layer(layers, new_cache(), rotation_SF, prefix),
                _rows(model_width, seed=0, device=device),
                agreed,
            )
    return widths.exact_class(lambda: lambda x_ND, _: to_logits(x_ND), _rows(model_width, seed=1, device=device), agreed)


def _first_layer(layers: Layers, cache: KVCache, rotation_SF: Tensor, prefix: int) -> widths.Pass:
    """Layer 0 over a random cache of `prefix` tokens to which each pass adds its real rows."""
    cache.reserve(prefix + 2 * max(WIDTHS))
    cache.buffer.copy_(torch.randn(cache.buffer.shape, generator=torch.Generator().manual_seed(2)))
    cache.lengths = [prefix]

    def run(x_ND: Tensor, num_real: int) -> Tensor:
        y_ND = x_ND.clone()
        cache.reserve(cache.lengths[0] + len(x_ND))
        position_K = (cache.lengths[0] + torch.arange(len(x_ND))).clamp_(max=len(rotation_SF) - 1)
        layers(y_ND, cache, one_row(len(x_ND)), rotation_SF[position_K.to(rotation_SF.device)], None, first=0, end=1)
        cache.advance([0], [num_real])
        return y_ND

    return run


def _rows(model_width: int, *, seed: int, device: torch.device) -> Tensor:
    """As many rows as the widest pass has places."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(max(WIDTHS), model_width, generator=generator).to(device)
