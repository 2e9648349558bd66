"""Mean loss per token of rows or blocks under any Transformers causal LM, row by row, without gradients.

Rows are padded on the left, so that their learned tokens end together and only those positions get logits: on a
vocabulary of 50,000 the head costs more than a small model's layers.
"""

# B rows, T positions, L learned positions
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from tenfold.train.encoding import EncodedRow


@dataclass(frozen=True)
class RowLoss:
    """Summed negative log-likelihood (nats) of a row's learned tokens, and how many they are."""

    id: str
    total: float
    num_tokens: int


def row_losses(model: torch.nn.Module, rows: Sequence[EncodedRow], *, batch_size: int = 8) -> list[RowLoss]:
    """The loss of every row, in the order given; the model's training mode is put back afterwards."""
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].ids))
    losses: dict[int, RowLoss] = {}
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            losses |= dict(zip(places, _batch_losses(model, [rows[place] for place in places]), strict=True))
    model.train(was_training)
    return [losses[place] for place in range(len(rows))]


def mean_loss(losses: Sequence[RowLoss]) -> float:
    """Nats per token over all rows; NaN where there is no token."""
    tokens = sum(loss.num_tokens for loss in losses)
    return sum(loss.total for loss in losses) / tokens if tokens else float("nan")


def perplexity(losses: Sequence[RowLoss]) -> float:
    """exp of the mean loss per token."""
    return exp(mean_loss(losses))


@torch.no_grad()
def block_losses(model: torch.nn.Module, blocks_NS: Tensor, *, batch_size: int = 16) -> Tensor:
    """Summed negative log-likelihood (nats) of each packed block but its first token, [N] in float64."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    found = []
    for ids_BS in blocks_NS.split(batch_size):
        ids_BS = ids_BS.to(device)
        logits_BSV = model(input_ids=ids_BS, use_cache=False).logits[:, :-1]
        losses_T = torch.nn.functional.cross_entropy(
            logits_BSV.float().flatten(0, 1), ids_BS[:, 1:].flatten(), reduction="none"
        )
        found.append(losses_T.view(len(ids_BS), -1).double().sum(-1).cpu())
    model.train(was_training)
    return torch.cat(found)


def _batch_losses(model: torch.nn.Module, rows: Sequence[EncodedRow]) -> list[RowLoss]:
    width = max(len(row.ids) for row in rows)
    learned = max(row.num_learned for row in rows)
    device = next(model.parameters()).device
    ids_BT = torch.tensor([[0] * (width - len(row.ids)) + list(row.ids) for row in rows], device=device)
    mask_BT = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows], device=device)
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
    # one more than the learned tokens: the position before a token predicts it
    logits_BLV = model(
        input_ids=ids_BT, attention_mask=mask_BT, position_ids=positions_BT, use_cache=False, logits_to_keep=learned + 1
    ).logits[:, -learned - 1 : -1]
    losses_BL = torch.nn.functional.cross_entropy(
        logits_BLV.float().flatten(0, 1), ids_BT[:, -learned:].flatten(), reduction="none"
    ).view(len(rows), learned)
    return [_sum_last(row, losses_L) for row, losses_L in zip(rows, losses_BL, strict=True)]


def _sum_last(row: EncodedRow, losses_L: Tensor) -> RowLoss:
    counted = min(row.num_learned, len(row.ids) - 1)  # nothing precedes the very first token
    return RowLoss(row.id, float(losses_L[len(losses_L) - counted :].double().sum()), counted)
