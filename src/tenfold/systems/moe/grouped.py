"""Routed experts as two grouped matrix products. Tokens and their chosen experts come in, the weighted sum goes out.

The slots (a token with one of its experts) are sorted by expert once, so that each expert reads one block of rows. Backward
is written out: it keeps the rows and one product, computes the cheap rest again, weighs the narrow inner rows instead of
the wide outer ones, and adds up a token's gradients in order, where autograd would scatter them.

`grouped_mm` takes blocks in float32, bf16 and fp16, for rows of whole 16 bytes; float64, odd sizes and compiled code
other than bf16 take a loop over the blocks. A few tokens, as in decoding, skip the sorting: they touch few experts, and
reading those weights is all the work there is.

Sections 3.1 and 3.2 of arXiv 2401.06066: the routed sum of equation 9.
"""

# T tokens, K chosen experts per token, S = T * K slots, E experts, D model width, I expert width, F = 2 I

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

DECODING_TOKENS = 8
"""Up to this many tokens are computed expert by expert, without sorting."""
ALIGNMENT_BYTES = 16


def expert_sum(x_TD: Tensor, expert_TK: Tensor, weight_TK: Tensor, gate_up_EFD: Tensor, down_EDI: Tensor) -> Tensor:
    """The sum over each token's experts of weight * down(silu(gate(x)) * up(x)); [T, D], in the dtype of x.

    `gate_up_EFD` holds the gate's I rows over the I rows of up. An expert without tokens gets a zero gradient.
    """
    if len(x_TD) <= DECODING_TOKENS and not torch.is_grad_enabled():
        return _token_by_token(x_TD, expert_TK, weight_TK, gate_up_EFD, down_EDI)
    found: Any = _SortedSum.apply(x_TD, weight_TK, gate_up_EFD, down_EDI, expert_TK)
    return found


class _SortedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_TD: Tensor, weight_TK: Tensor, gate_up_EFD: Tensor, down_EDI: Tensor, expert_TK: Tensor
    ) -> Tensor:
        num_chosen = expert_TK.shape[1]
        expert_S, slot_S = expert_TK.reshape(-1).sort(stable=True)
        experts = torch.arange(len(gate_up_EFD), device=expert_S.device)
        offset_E = torch.searchsorted(expert_S, experts, right=True).int()
        back_S = torch.empty_like(slot_S).scatter_(0, slot_S, torch.arange(len(slot_S), device=slot_S.device))
        token_S = slot_S // num_chosen
        rows_SD = x_TD[token_S].to(gate_up_EFD.dtype)
        weight_S1 = weight_TK.reshape(-1)[slot_S].unsqueeze(-1).to(gate_up_EFD.dtype)
        both_SF = grouped_linear(rows_SD, gate_up_EFD, offset_E)
        gate_SI, up_SI = both_SF.chunk(2, dim=-1)
        out_SD = grouped_linear(functional.silu(gate_SI).mul_(up_SI).mul_(weight_S1), down_EDI, offset_E)
        ctx.save_for_backward(rows_SD, both_SF, weight_S1, gate_up_EFD, down_EDI, offset_E, token_S, back_S)
        ctx.shape, ctx.dtypes = expert_TK.shape, (x_TD.dtype, weight_TK.dtype)
        return _added(out_SD, back_S, num_chosen).to(x_TD.dtype)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        rows_SD, both_SF, weight_S1, gate_up_EFD, down_EDI, offset_E, token_S, back_S = ctx.saved_tensors
        gate_SI, up_SI = both_SF.chunk(2, dim=-1)
        act_SI = functional.silu(gate_SI)
        plain_SI = act_SI * up_SI
        d_out_SD = given[0][token_S].to(rows_SD.dtype)
        d_hidden_SI = _grouped_back(d_out_SD, down_EDI, offset_E)
        d_weight_S = (d_hidden_SI * plain_SI).sum(-1)
        d_down_EDI = d_gate_up_EFD = None
        if ctx.needs_input_grad[3]:
            d_down_EDI = _grouped_outer(d_out_SD, plain_SI.mul_(weight_S1), down_EDI, offset_E)
        d_plain_SI = d_hidden_SI.mul_(weight_S1)
        d_both_SF = torch.empty_like(both_SF)
        d_gate_SI, d_up_SI = d_both_SF.chunk(2, dim=-1)
        torch.mul(d_plain_SI, act_SI, out=d_up_SI)
        d_gate_SI.copy_(torch.ops.aten.silu_backward(d_plain_SI.mul_(up_SI), gate_SI))
        if ctx.needs_input_grad[2]:
            d_gate_up_EFD = _grouped_outer(d_both_SF, rows_SD, gate_up_EFD, offset_E)
        d_x_TD = _added(_grouped_back(d_both_SF, gate_up_EFD, offset_E), back_S, ctx.shape[1])
        d_weight_TK = d_weight_S[back_S].view(ctx.shape)
        return d_x_TD.to(ctx.dtypes[0]), d_weight_TK.to(ctx.dtypes[1]), d_gate_up_EFD, d_down_EDI, None


def grouped_linear(rows_SX: Tensor, weight_EYX: Tensor, offset_E: Tensor) -> Tensor:
    """Rows of expert e (from offset e-1 to offset e) times its weight; [S, Y]."""
    if fits_grouped_mm(weight_EYX):
        return functional.grouped_mm(rows_SX, weight_EYX.transpose(1, 2), offs=offset_E)
    blocks = zip(rows_SX.split(_lengths(offset_E)), weight_EYX, strict=True)
    return torch.cat([functional.linear(block, weight) for block, weight in blocks])


def fits_grouped_mm(weight_EYX: Tensor) -> bool:
    """Whether torch's grouped product takes this weight: its dtype, and rows of whole 16 bytes in both directions."""
    dtype = weight_EYX.dtype
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    if torch.compiler.is_compiling() and dtype != torch.bfloat16:
        return False
    return all(size * dtype.itemsize % ALIGNMENT_BYTES == 0 for size in weight_EYX.shape[1:])


def _grouped_back(grad_SY: Tensor, weight_EYX: Tensor, offset_E: Tensor) -> Tensor:
    """Gradient of the rows of `grouped_linear`, [S, X]."""
    if fits_grouped_mm(weight_EYX):
        return functional.grouped_mm(grad_SY, weight_EYX, offs=offset_E)
    blocks = zip(grad_SY.split(_lengths(offset_E)), weight_EYX, strict=True)
    return torch.cat([block @ weight for block, weight in blocks])


def _grouped_outer(grad_SY: Tensor, rows_SX: Tensor, weight_EYX: Tensor, offset_E: Tensor) -> Tensor:
    """Gradient of the weights of `grouped_linear`, [E, Y, X]; zero for an expert without rows."""
    if fits_grouped_mm(weight_EYX):
        return functional.grouped_mm(grad_SY.t(), rows_SX, offs=offset_E)
    lengths = _lengths(offset_E)
    return torch.stack([a.t() @ b for a, b in zip(grad_SY.split(lengths), rows_SX.split(lengths), strict=True)])


def _added(out_SD: Tensor, back_S: Tensor, num_chosen: int) -> Tensor:
    """The sum of each token's slots, in their order: deterministic on every device, unlike index_add."""
    return out_SD[back_S].unflatten(0, (-1, num_chosen)).sum(dim=1)


def _lengths(offset_E: Tensor) -> list[int]:
    return offset_E.diff(prepend=offset_E.new_zeros(1)).tolist()


def _token_by_token(x_TD: Tensor, expert_TK: Tensor, weight_TK: Tensor, gate_up_EFD: Tensor, down_EDI: Tensor) -> Tensor:
    if x_TD.is_cuda or torch.compiler.is_compiling():
        return _gathered(x_TD, expert_TK, weight_TK, gate_up_EFD, down_EDI)
    out_TD = torch.zeros_like(x_TD)
    wide = down_EDI.shape[-1]
    both_KF = x_TD.new_empty(expert_TK.shape[1], 2 * wide)
    for x_D, chosen, weight_K, out_D in zip(x_TD, expert_TK.tolist(), weight_TK, out_TD, strict=True):
        # Views of the weights: gathering them would copy all that is about to be read.
        for row_F, expert in zip(both_KF, chosen, strict=True):
            torch.mv(gate_up_EFD[expert], x_D, out=row_F)
        hidden_KI = functional.silu(both_KF[:, :wide]).mul_(both_KF[:, wide:]).mul_(weight_K.unsqueeze(-1))
        for hidden_I, expert in zip(hidden_KI, chosen, strict=True):
            out_D.addmv_(down_EDI[expert], hidden_I)
    return out_TD


def _gathered(x_TD: Tensor, expert_TK: Tensor, weight_TK: Tensor, gate_up_EFD: Tensor, down_EDI: Tensor) -> Tensor:
    both_TKF = torch.einsum("tkfd,td->tkf", gate_up_EFD[expert_TK], x_TD)
    gate_TKI, up_TKI = both_TKF.chunk(2, dim=-1)
    out_TKD = torch.einsum("tkdi,tki->tkd", down_EDI[expert_TK], functional.silu(gate_TKI) * up_TKI)
    return (out_TKD * weight_TK.unsqueeze(-1).to(out_TKD.dtype)).sum(dim=1)
