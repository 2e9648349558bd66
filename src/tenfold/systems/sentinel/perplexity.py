"""Fair perplexity: original tokens only, the sentinel's logit at -inf, the same targets whatever stands between them.

The whole sequence is computed under its mask in blocks, with a cache in which nothing is dropped; `lm` is compared with it.
"""

# N entries, T original tokens, V vocabulary
from collections.abc import Sequence
from math import exp
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from tenfold.systems.sentinel.layout import Layout
from tenfold.systems.sentinel.rules import Meta, Rule, backend_of, build_mask

BLOCK = 1024


@torch.no_grad()
def token_losses(
    model: Any,
    layout: Layout,
    rule: Rule,
    sentinels: Sequence[int],
    *,
    kept: Tensor | None = None,
    until: Tensor | None = None,
    block: int = BLOCK,
) -> Tensor:
    """[T - 1] nats of every original token but the first.

    Args:
        model: any causal LM of Transformers, adapted or not.
        kept: bool [N], entries that stay visible, where it is not the sentinels.
        until: [N], from which order on they do not.
    """
    logits = masked_logits(model, layout, rule, kept=kept, until=until, block=block)
    return torch.cat([_losses(part, labels, sentinels) for part, labels in logits])


def masked_logits(
    model: Any, layout: Layout, rule: Rule, *, kept: Tensor | None = None, until: Tensor | None = None, block: int = BLOCK
) -> Any:
    """Yields (logits [b, V], labels) of the labelled entries, block by block."""
    config = model.config
    device = next(model.parameters()).device
    backend = backend_of(model)
    meta = Meta.of([layout]).to(device)
    if kept is not None:
        meta = meta.with_kept(kept[None].to(device), None if until is None else until[None].to(device))
    is_causal = rule.raw == "all" and (not layout.num_sentinels or rule.scope == "causal") and kept is None
    ids, positions = (torch.tensor([column], device=device) for column in (layout.ids, layout.pos))
    cache = DynamicCache(config=config) if len(layout) > block else None
    for start in range(0, len(layout), block):
        part = slice(start, min(start + block, len(layout)))
        mask = None if is_causal else build_mask(meta[:, part], meta[:, : part.stop], rule, backend, dtype=model.dtype)
        out = model(
            input_ids=ids[:, part],
            position_ids=positions[:, part],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        labels = torch.tensor(layout.labels[part], device=device)
        yield out.logits[0][labels >= 0], labels[labels >= 0]


def _losses(logits_LV: Tensor, label_L: Tensor, sentinels: Sequence[int]) -> Tensor:
    logits_LV = logits_LV.float()
    logits_LV[:, list(sentinels)] = -torch.inf
    return functional.cross_entropy(logits_LV, label_L, reduction="none").cpu()


def perplexity(losses: Sequence[Tensor]) -> float:
    """exp of the mean over all tokens of all windows."""
    joined = torch.cat(list(losses)).double()
    return exp(float(joined.mean()))
