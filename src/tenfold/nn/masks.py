"""Who sees whom: additive attention masks for a pass of new tokens over a cache.

The slots before a row's length are always visible, so a mask covers only the slots from the shortest row's length
on; that keeps it a few hundred entries wide whatever the context.
"""

# B rows, K new tokens, S slots from `first` on
from collections.abc import Sequence

import torch
from torch import Tensor

HIDDEN = float("-inf")


def pass_mask(
    lengths: Sequence[int], num_new: int, *, first: int, end: int, ancestors_KK: Tensor | None = None, device: torch.device
) -> Tensor:
    """Additive mask [B, K, end - first]: 0 where token k of row b sees the slot, -inf elsewhere.

    Token k sits in slot lengths[b] + k. It sees its row's cached tokens and, among the new ones, those before it and
    itself, or those that `ancestors_KK` (bool [K, K], diagonal true) names.
    """
    slot_S = torch.arange(first, end, device=device)
    length_B11 = torch.tensor(lengths, device=device)[:, None, None]
    if ancestors_KK is None:
        last_seen_BK1 = length_B11 + torch.arange(num_new, device=device)[:, None]
        visible_BKS = slot_S <= last_seen_BK1
    else:
        visible_BKS = _tree_visibility(slot_S, length_B11, ancestors_KK)
    return torch.zeros(visible_BKS.shape, device=device).masked_fill_(~visible_BKS, HIDDEN)


def slot_mask(visible_BKS: Tensor, end: int) -> Tensor:
    """Additive mask [B, K, end] from who sees which of the first slots; the slots behind them are hidden."""
    mask_BKS = torch.full((*visible_BKS.shape[:2], end), HIDDEN, device=visible_BKS.device)
    mask_BKS[:, :, : visible_BKS.shape[2]].masked_fill_(visible_BKS, 0.0)
    return mask_BKS


def _tree_visibility(slot_S: Tensor, length_B11: Tensor, ancestors_KK: Tensor) -> Tensor:
    num_new = ancestors_KK.shape[0]
    offset_B1S = slot_S - length_B11
    among_new_B1S = (offset_B1S >= 0) & (offset_B1S < num_new)
    column_BS = offset_B1S.clamp(0, num_new - 1).squeeze(1)
    seen_BKS = ancestors_KK.to(slot_S.device)[:, column_BS].transpose(0, 1)
    return (offset_B1S < 0) | (among_new_B1S & seen_BKS)
