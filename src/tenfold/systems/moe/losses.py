"""Balance losses, layer by layer. Scores and choices of each router come in, one number to add to the loss goes out.

Equations 12-17 of arXiv 2401.06066, section 3.3. For N routed experts, K chosen, T tokens:

    f_i = N / (K T) * tokens that choose i (no gradient)        P_i = mean score of i
    expert loss = a1 * sum_i f_i P_i                            balanced a1, collapsed on K experts a1 * N / K
    device loss = a2 * sum_d mean_{i in d} f_i * sum_{i in d} P_i   over D groups of experts; balanced a2

Each layer's product is taken before layers are summed. Transformers' own function adds up counts and scores of all layers
first, and cannot see layers that each collapse on different experts.
"""

# R groups of tokens that share one f and P (rows, or one batch), S tokens in each, N routed experts, K chosen, D devices

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn
from transformers import PreTrainedModel

from tenfold.core.errors import ConfigError
from tenfold.systems.moe.taps import routers, routing_of

Scope = Literal["sequence", "batch", "global"]


@dataclass(frozen=True)
class BalanceSettings:
    """Which losses, and over which tokens.

    Raises:
        ConfigError: a factor is negative, the scope is unknown, or there is no device.
    """

    expert: float = 0.001
    """a1, the factor of the expert loss."""
    device: float = 0.0
    """a2, the factor of the device loss."""
    num_devices: int = 1
    """Groups of neighbouring experts."""
    z: float = 0.0
    """Factor of the mean squared logsumexp of the logits (Zoph et al. 2022)."""
    scope: Scope = "sequence"
    """Count over each sequence and take the mean, over the local batch, or over the batches of all processes."""

    def __post_init__(self) -> None:
        if min(self.expert, self.device, self.z) < 0:
            raise ConfigError(f"factors are {self.expert}, {self.device} and {self.z}; none may be negative")
        if self.scope not in ("sequence", "batch", "global"):
            raise ConfigError(f"scope is {self.scope!r}; sequence, batch and global are accepted")
        if self.num_devices < 1:
            raise ConfigError(f"num_devices is {self.num_devices}; give at least 1")


@dataclass(frozen=True)
class Loads:
    """f and P of one layer, each [R, N]; `tokens` [R] is how many real tokens stand behind them."""

    load_RN: Tensor
    score_RN: Tensor
    tokens_R: Tensor


def expert_loss(loads: Loads) -> Tensor:
    """sum_i f_i P_i, averaged over the groups that hold tokens (equation 12, without its factor)."""
    return _mean_of_real((loads.load_RN * loads.score_RN).sum(-1), loads.tokens_R)


def device_loss(loads: Loads, num_devices: int) -> Tensor:
    """sum_d f'_d P'_d, averaged over the groups that hold tokens (equation 15, without its factor).

    Raises:
        ConfigError: the experts cannot be split evenly.
    """
    num_experts = loads.load_RN.shape[-1]
    if num_experts % num_devices:
        raise ConfigError(
            f"{num_experts} experts cannot be split over {num_devices} devices; give a divisor of {num_experts}"
        )
    load_RD = loads.load_RN.unflatten(-1, (num_devices, -1)).mean(-1)
    score_RD = loads.score_RN.unflatten(-1, (num_devices, -1)).sum(-1)
    return _mean_of_real((load_RD * score_RD).sum(-1), loads.tokens_R)


def measure_loads(logits_RSN: Tensor, expert_RSK: Tensor, real_RS: Tensor | None, scope: Scope) -> Loads:
    """f and P over the tokens that are real (1 in `real_RS`; all, if it is None)."""
    score_RSN = logits_RSN.softmax(-1, dtype=torch.promote_types(logits_RSN.dtype, torch.float32))
    real_RS = score_RSN.new_ones(score_RSN.shape[:2]) if real_RS is None else real_RS.to(score_RSN)
    chosen_RSK = real_RS.unsqueeze(-1).expand(expert_RSK.shape)
    count_RN = score_RSN.new_zeros(len(score_RSN), score_RSN.shape[-1])
    count_RN.scatter_add_(1, expert_RSK.flatten(1), chosen_RSK.flatten(1))
    sums = (count_RN, (score_RSN * real_RS.unsqueeze(-1)).sum(1), real_RS.sum(1))
    if scope != "sequence":
        sums = tuple(each.sum(0, keepdim=True) for each in sums)
    if scope == "global":
        sums = _over_processes(*sums)
    count_RN, score_RN, tokens_R = sums
    tokens_R1 = tokens_R.clamp(min=1).unsqueeze(-1)
    num_experts, num_chosen = score_RSN.shape[-1], expert_RSK.shape[-1]
    return Loads(count_RN * num_experts / (num_chosen * tokens_R1), score_RN / tokens_R1, tokens_R)


def _over_processes(count_RN: Tensor, score_RN: Tensor, tokens_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over all processes. Gradients reach the local scores alone, once for each process: since DDP and FSDP average
    gradients over processes, what comes out is the gradient of the whole.
    """
    if not distributed.is_initialized():
        return count_RN, score_RN, tokens_R
    everywhere = [each.detach().clone() for each in (count_RN, score_RN, tokens_R)]
    for each in everywhere:
        distributed.all_reduce(each)
    return everywhere[0], everywhere[1] + (score_RN - score_RN.detach()) * distributed.get_world_size(), everywhere[2]


def _mean_of_real(value_R: Tensor, tokens_R: Tensor) -> Tensor:
    holds_R = (tokens_R > 0).to(value_R)
    return (value_R * holds_R).sum() / holds_R.sum().clamp(min=1)


@dataclass
class BalanceLoss:
    """Balance losses of any Transformers model that records `router_logits`, gathered by hooks on its routers.

        balance = BalanceLoss.attach(model)
        loss = model(**batch).loss + balance.collect(batch["input_ids"].shape, batch.get("attention_mask"))

    Call `collect` once after each forward pass of the model. Checkpointing must be the kind that Transformers uses by
    default: the reentrant one computes without gradients first, and the losses would have none.
    """

    settings: BalanceSettings
    num_chosen: int
    _listens: bool = False
    """From the start of a pass until `collect`: layers computed again in the backward pass are not another pass."""
    _found: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _handles: list[Any] = field(default_factory=list)

    @classmethod
    def attach(cls, model: PreTrainedModel, settings: BalanceSettings | None = None) -> "BalanceLoss":
        """Hooks on every router of the model.

        Raises:
            ConfigError: the model has no router.
        """
        found, index = routers(model)
        balance = cls(settings or BalanceSettings(), model.config.num_experts_per_tok)
        balance._handles.append(model.register_forward_pre_hook(balance._start))
        for name, router in found.items():
            balance._handles.append(router.register_forward_hook(balance._hook(name, index)))
        return balance

    def detach(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()

    def collect(self, shape: Sequence[int], real_BS: Tensor | None = None) -> Tensor:
        """The loss of the last pass, over tokens of `shape` [B, S]; the pass is forgotten.

        Raises:
            ConfigError: there was no pass since the last call.
        """
        terms = self.terms(shape, real_BS)
        settings = self.settings
        self._found, self._listens = {}, False
        return sum(
            (settings.expert * term["expert"] + settings.device * term["device"] + settings.z * term["z"])
            for term in terms.values()
        ) + torch.zeros(())

    def terms(self, shape: Sequence[int], real_BS: Tensor | None = None) -> Mapping[str, Mapping[str, Tensor]]:
        """Each layer's losses without their factors, by the router's name."""
        if not self._found:
            raise ConfigError("no forward pass was seen since the last collect; run the model first")
        return {name: self._terms(*found, tuple(shape), real_BS) for name, found in self._found.items()}

    def _terms(self, logits: Tensor, expert: Tensor, shape: tuple[int, ...], real_BS: Tensor | None) -> dict[str, Tensor]:
        logits_BSN, expert_BSK = logits.view(*shape, -1), expert.view(*shape, -1)
        loads = measure_loads(logits_BSN, expert_BSK, real_BS, self.settings.scope)
        real = torch.ones(shape, device=logits.device) if real_BS is None else real_BS.to(logits.device)
        squared_BS = logits_BSN.float().logsumexp(-1).square()
        z = (squared_BS * real).sum() / real.sum().clamp(min=1)
        return {"expert": expert_loss(loads), "device": device_loss(loads, self.settings.num_devices), "z": z}

    def _start(self, _model: nn.Module, _given: Any) -> None:
        self._found, self._listens = {}, True

    def _hook(self, name: str, index: int) -> Any:
        def keep(router: nn.Module, _given: Any, output: Any) -> None:
            if self._listens:
                self._found[name] = routing_of(router, output, index, self.num_chosen)

        return keep
