"""Routed experts as two grouped matrix products. Tokens and their chosen experts come in, the weighted sum goes out.

The slots (a token with one of its experts) are sorted by expert once, so that each expert reads one block of rows.
`grouped_mm` takes such blocks in float32, bf16 and fp16, for rows of whole 16 bytes; float64, odd sizes and compiled code
other than bf16 take a loop over the blocks. A few tokens, as in decoding, skip the sorting: they touch few experts, and
reading those weights is all the work there is.

Sections 3.1 and 3.2 of arXiv 2401.06066: the routed sum of equation 9.
"""

# T tokens, K chosen experts per token, S = T * K slots, E experts, D model width, I expert width

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
    num_chosen = expert_TK.shape[1]
    expert_S, slot_S = expert_TK.reshape(-1).sort(stable=True)
    offset_E = torch.searchsorted(expert_S, torch.arange(len(gate_up_EFD), device=expert_S.device), right=True).int()
    rows_SD = x_TD[slot_S // num_chosen]
    gate_SI, up_SI = grouped_linear(rows_SD, gate_up_EFD, offset_E).chunk(2, dim=-1)
    out_SD = grouped_linear(functional.silu(gate_SI) * up_SI, down_EDI, offset_E)
    back_S = torch.empty_like(slot_S).scatter_(0, slot_S, torch.arange(len(slot_S), device=slot_S.device))
    # A sum over the slots of each token in their order: deterministic on every device, unlike index_add.
    out_TKD = out_SD[back_S].view(*expert_TK.shape, -1)
    return (out_TKD * weight_TK.unsqueeze(-1).to(out_TKD.dtype)).sum(dim=1)


def grouped_linear(rows_SX: Tensor, weight_EYX: Tensor, offset_E: Tensor) -> Tensor:
    """Rows of expert e (from offset e-1 to offset e) times its weight; [S, Y]."""
    if fits_grouped_mm(weight_EYX):
        return functional.grouped_mm(rows_SX.to(weight_EYX.dtype), weight_EYX.transpose(1, 2), offs=offset_E)
    lengths = offset_E.diff(prepend=offset_E.new_zeros(1)).tolist()
    blocks = rows_SX.split(lengths)
    return torch.cat([functional.linear(block, weight) for block, weight in zip(blocks, weight_EYX, strict=True)])


def fits_grouped_mm(weight_EYX: Tensor) -> bool:
    """Whether torch's grouped product takes this weight: its dtype, and rows of whole 16 bytes in both directions."""
    dtype = weight_EYX.dtype
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    if torch.compiler.is_compiling() and dtype != torch.bfloat16:
        return False
    return all(size * dtype.itemsize % ALIGNMENT_BYTES == 0 for size in weight_EYX.shape[1:])


def _token_by_token(x_TD: Tensor, expert_TK: Tensor, weight_TK: Tensor, gate_up_EFD: Tensor, down_EDI: Tensor) -> Tensor:
    if x_TD.is_cuda or torch.compiler.is_compiling():
        return _gathered(x_TD, expert_TK, weight_TK, gate_up_EFD, down_EDI)
    out_TD = torch.zeros_like(x_TD)
    for token, chosen in enumerate(expert_TK.tolist()):
        # Views of the weights: gathering them would copy all that is about to be read.
        for place, expert in enumerate(chosen):
            gate_I, up_I = torch.mv(gate_up_EFD[expert], x_TD[token]).chunk(2)
            out_D = torch.mv(down_EDI[expert], functional.silu(gate_I) * up_I)
            out_TD[token] += out_D * weight_TK[token, place].to(out_D.dtype)
    return out_TD


def _gathered(x_TD: Tensor, expert_TK: Tensor, weight_TK: Tensor, gate_up_EFD: Tensor, down_EDI: Tensor) -> Tensor:
    both_TKF = torch.einsum("tkfd,td->tkf", gate_up_EFD[expert_TK], x_TD)
    gate_TKI, up_TKI = both_TKF.chunk(2, dim=-1)
    out_TKD = torch.einsum("tkdi,tki->tkd", down_EDI[expert_TK], functional.silu(gate_TKI) * up_TKI)
    return (out_TKD * weight_TK.unsqueeze(-1).to(out_TKD.dtype)).sum(dim=1)
