"""Who sees whom. One rule serves training, evaluation and the cache, so cache and mask cannot disagree.

    M[q, k] = (k <= q) and real(k) and d(k) = d(q) and vis(q, k)
    q a token      vis = kept(k) or raw(q, k)
    q a sentinel   the same, and: its own chunk (scope chunk), or also sentinels (chunk+sr), or all of it (causal)
    raw            all | window: i(k) <= sinks or i(k) > ws(q), ws(q) = B floor(max(0, i(q) - W) / B) | sr_only: c(k) = c(q)

`kept` are the sentinels, or for the separator rule the punctuation; a budget may end that at `until`.
"""

# B rows, N entries, Q queries, K keys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from tenfold.core.errors import ConfigError
from tenfold.systems.sentinel.layout import Layout
from tenfold.systems.sentinel.settings import Raw, Scope, SentinelConfig

Backend = Literal["eager", "sdpa", "flex_attention"]
NEVER = 2**31 - 1
"""An `until` that does not come."""


@dataclass(frozen=True)
class Rule:
    """The switches of the mask."""

    scope: Scope = "chunk"
    raw: Raw = "all"
    window: int = 512
    n_sink: int = 4
    block: int = 64
    hierarchy: bool = False
    blind: bool = False
    """Sentinels are seen by sentinels only: the identity with the model without them."""

    @staticmethod
    def of(config: SentinelConfig) -> "Rule":
        return Rule(config.scope, config.raw, config.window, config.n_sink, config.block, config.hierarchy)


@dataclass(frozen=True)
class Meta:
    """What the rule knows of entries; tensors [..., N]."""

    order: Tensor
    """Place in the expanded sequence."""
    i: Tensor
    c: Tensor
    g: Tensor
    d: Tensor
    level: Tensor
    real: Tensor
    """bool; false for padding."""
    kept: Tensor
    """bool: stays visible when its text is not."""
    until: Tensor
    """From the query of this order on it is not kept any more."""

    @staticmethod
    def of(layouts: Sequence[Layout], *, side: Literal["left", "right"] = "right", width: int | None = None) -> "Meta":
        """Layouts as rows, padded to one width."""
        width = width or max(map(len, layouts))

        def column(values: Sequence[Sequence[int]]) -> Tensor:
            rows = [
                [0] * (width - len(row)) + list(row) if side == "left" else [*row, *[0] * (width - len(row))]
                for row in values
            ]
            return torch.tensor(rows, dtype=torch.int32)

        real = column([[1] * len(layout) for layout in layouts]).bool()
        level = column([layout.level for layout in layouts])
        return Meta(
            order=torch.arange(width, dtype=torch.int32).expand(len(layouts), -1),
            i=column([layout.i for layout in layouts]),
            c=column([layout.c for layout in layouts]),
            g=column([layout.g for layout in layouts]),
            d=column([layout.d for layout in layouts]),
            level=level,
            real=real,
            kept=(level > 0) & real,
            until=torch.full_like(level, NEVER),
        )

    def __getitem__(self, index: Any) -> "Meta":
        return Meta(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device: torch.device) -> "Meta":
        return Meta(*(getattr(self, field.name).to(device) for field in fields(self)))

    def with_kept(self, kept: Tensor, until: Tensor | None = None) -> "Meta":
        """The same entries, of which others are kept."""
        return replace(self, kept=kept & self.real, until=self.until if until is None else until)


def visible(q: Meta, k: Meta, rule: Rule) -> Tensor:
    """bool [..., Q, K]: the rule, for queries [..., Q] and keys [..., K]."""
    return _sees(q[..., :, None], k[..., None, :], rule)


def window_start(i: Tensor, rule: Rule) -> Tensor:
    """ws: the original tokens up to this number are outside of the window."""
    return (i - rule.window).clamp(min=0) // rule.block * rule.block


def _sees(q: Meta, k: Meta, rule: Rule) -> Tensor:
    """The rule, value by value; the shapes of queries and keys must broadcast."""
    before = (k.order <= q.order) & k.real & q.real & (k.d == q.d)
    kept = k.kept & (q.order < k.until) & ~_replaced(q, k, rule)
    seen = kept | ((k.level == 0) & _raw(q, k, rule))
    own = torch.where(q.level == 2, k.g == q.g, k.c == q.c)
    in_scope = {"chunk": own, "chunk+sr": own | kept, "causal": torch.ones_like(own)}[rule.scope]
    blinded = ~((k.level > 0) & rule.blind)
    seen = torch.where(q.level > 0, seen & in_scope, seen & blinded)
    # a row without any visible key would be NaN, so padding sees itself
    return (before & seen) | (~q.real & (k.order == q.order))


def _raw(q: Meta, k: Meta, rule: Rule) -> Tensor:
    if rule.raw == "all":
        return torch.ones_like(k.i == q.i)
    if rule.raw == "sr_only":
        return k.c == q.c
    return (k.i <= rule.n_sink) | (k.i > window_start(q.i, rule))


def _replaced(q: Meta, k: Meta, rule: Rule) -> Tensor:
    """Sentinels of chunks whose paragraph has been closed, once they have left the window."""
    if not rule.hierarchy or rule.raw != "window":
        return torch.zeros_like(k.i == q.i)
    return (k.level == 1) & (k.g < q.g) & (k.i <= window_start(q.i, rule))


def build_mask(q: Meta, k: Meta, rule: Rule, backend: Backend, *, dtype: torch.dtype = torch.float32) -> Tensor | BlockMask:
    """The rule in the form that an attention backend of Transformers takes, [B, 1, Q, K].

    Eager attention adds the mask to the scores, and a bool one would silently be added as 0 and 1; SDPA takes bool.
    """
    if backend == "flex_attention":
        return _block_mask(q, k, rule)
    seen_BQK = visible(q, k, rule)
    if backend == "sdpa":
        return seen_BQK[:, None]
    if backend == "eager":
        return torch.zeros(seen_BQK.shape, dtype=dtype, device=seen_BQK.device).masked_fill_(~seen_BQK, -torch.inf)[:, None]
    raise ConfigError(f"attention backend {backend!r} takes no mask of ours; eager, sdpa and flex_attention are accepted")


def backend_of(model: Any) -> Backend:
    """The attention backend that a model of Transformers uses.

    Raises:
        ConfigError: one that takes no mask of ours, such as FlashAttention.
    """
    name = model.config._attn_implementation
    if name not in ("eager", "sdpa", "flex_attention"):
        raise ConfigError(f"attention backend {name!r} takes no mask of ours; call model.set_attn_implementation('sdpa')")
    return name


def mask_function(q: Meta, k: Meta, rule: Rule) -> Any:
    """The rule as FlexAttention's `mask_mod` of (row, head, query, key)."""

    def sees(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return _sees(q[b, query], k[b, key], rule)

    return sees


def _block_mask(q: Meta, k: Meta, rule: Rule) -> BlockMask:
    (num_rows, num_queries), num_keys = q.i.shape, k.i.shape[-1]
    return create_block_mask(mask_function(q, k, rule), num_rows, None, num_queries, num_keys, device=q.i.device)
