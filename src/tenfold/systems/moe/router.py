"""Who decides which experts see a token. Hidden states come in; logits, gates and choices go out.

Equations 10 and 11 of arXiv 2401.06066: a softmax over all routed experts, then the top K, whose scores are the gates. They
are not normalised again, unless `norm_topk_prob` says so. The hash router (Roller et al. 2021) looks the expert up by the
token's id; its gate is 1. `balance_bias` adds a bias to the scores for the choice alone (Wang et al. 2024).
"""

# T tokens, D model width, N routed experts, K chosen experts per token

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenfold.systems.moe.configuration import DeepseekConfig

Routing = tuple[Tensor, Tensor, Tensor]
"""Logits [T, N] in the router's dtype, gates [T, K], chosen experts [T, K]."""


class TopKRouter(nn.Module):
    """The learned router: one centroid e_i per expert."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        assert config.n_routed_experts
        self.num_chosen = config.num_experts_per_tok
        self.normalises = config.norm_topk_prob
        self.scale = config.routed_scaling_factor
        self.dtype = None if config.router_dtype == "model" else getattr(torch, config.router_dtype)
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.bias = nn.Buffer(torch.zeros(config.n_routed_experts)) if config.balance_bias else None

    def forward(self, x_TD: Tensor, token_ids_T: Tensor | None = None) -> Routing:
        dtype = self.dtype or x_TD.dtype
        logits_TN = functional.linear(x_TD.to(dtype), self.weight.to(dtype))
        weight_TK, expert_TK = choose(logits_TN, self.num_chosen, self.bias)
        if self.normalises:
            weight_TK = weight_TK / weight_TK.sum(dim=-1, keepdim=True)
        return logits_TN, (weight_TK * self.scale).to(x_TD.dtype), expert_TK


def choose(logits_TN: Tensor, num_chosen: int, bias_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Softmax, then the top K: gates and experts, both [T, K]. A bias counts in the choice and not in the gates."""
    score_TN = logits_TN.softmax(-1, dtype=torch.promote_types(logits_TN.dtype, torch.float32))
    if bias_N is None:
        weight_TK, expert_TK = score_TN.topk(num_chosen, dim=-1)
        return weight_TK, expert_TK
    expert_TK = (score_TN + bias_N).topk(num_chosen, dim=-1).indices
    return score_TN.gather(-1, expert_TK), expert_TK


class HashRouter(nn.Module):
    """The fixed router: `table` maps each token id to its expert, by default in turn."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        assert config.n_routed_experts
        self.num_experts = config.n_routed_experts
        self.table = nn.Buffer(torch.arange(config.vocab_size) % config.n_routed_experts)

    def forward(self, x_TD: Tensor, token_ids_T: Tensor | None = None) -> Routing:
        if token_ids_T is None:
            raise ValueError("a hash router needs input_ids, and got inputs_embeds; give input_ids")
        expert_T1 = self.table[token_ids_T].unsqueeze(-1)
        logits_TN = x_TD.new_full((len(x_TD), self.num_experts), float("-inf")).scatter(1, expert_T1, 0.0)
        return logits_TN, torch.ones_like(expert_T1, dtype=x_TD.dtype), expert_T1


def balanced_table(count_V: Tensor, num_experts: int) -> Tensor:
    """A table [V] that deals tokens, the most frequent first, each to the expert with the least traffic so far."""
    table_V = torch.zeros_like(count_V, dtype=torch.long)
    load = [0] * num_experts
    for token in count_V.argsort(descending=True, stable=True).tolist():
        expert = min(range(num_experts), key=load.__getitem__)
        table_V[token] = expert
        load[expert] += int(count_V[token]) + 1  # tokens never seen are spread too
    return table_V
