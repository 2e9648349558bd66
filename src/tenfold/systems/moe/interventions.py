"""What a mixture does without some of its experts. A model comes in and computes otherwise while the context is open.

    disabled_top   each token loses the experts that it likes best; the next ones take over with their own scores
    fewer_chosen   each token keeps only the first of its experts
    without_shared the shared experts are silent, and as many routed ones more are chosen
    without_routed the routed experts are silent: what the shared ones can do alone

Sections 4.4 and 4.5 of arXiv 2401.06066. Works on any Transformers model whose routers give (logits, gates, experts).
"""

# T tokens, N routed experts, K chosen experts per token
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tenfold.core.errors import ConfigError
from tenfold.systems.moe.router import HashRouter
from tenfold.systems.moe.taps import routers

SHARED_NAMES = ("shared_experts", "shared_expert")
ROUTED_NAME = "experts"
Choice = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""From scores [T, N] and K to gates and experts [T, K]."""


@contextmanager
def disabled_top(model: PreTrainedModel, share: float, *, at_random: torch.Generator | None = None) -> Iterator[None]:
    """Masks, for each token, the round(share * N) experts of highest score; the gates are the others' unchanged scores.

    Args:
        at_random: the control; as many experts are masked, drawn anew for each token.

    Raises:
        ConfigError: too few experts would be left.
    """

    def choose(score_TN: Tensor, num_chosen: int) -> tuple[Tensor, Tensor]:
        masked = round(share * score_TN.shape[-1])
        if masked + num_chosen > score_TN.shape[-1]:
            raise ConfigError(f"a share of {share} leaves fewer than {num_chosen} of {score_TN.shape[-1]} experts; lower it")
        if at_random is not None:
            drawn_TN = torch.rand(score_TN.shape, generator=at_random).to(score_TN.device)
            left_TN = score_TN.scatter(-1, drawn_TN.topk(masked, dim=-1).indices, -1.0)
            expert_TK = left_TN.topk(num_chosen, dim=-1).indices
            return score_TN.gather(-1, expert_TK), expert_TK
        gate_TM, expert_TM = score_TN.topk(masked + num_chosen, dim=-1)
        return gate_TM[:, masked:], expert_TM[:, masked:]

    with _routed_by(model, choose):
        yield


@contextmanager
def fewer_chosen(model: PreTrainedModel, num_chosen: int) -> Iterator[None]:
    """Each token keeps its first `num_chosen` experts.

    Raises:
        ConfigError: that is no number of experts that the model has.
    """
    most = model.config.num_experts_per_tok
    if not 1 <= num_chosen <= most:
        raise ConfigError(f"{num_chosen} experts per token were asked for; this model has from 1 to {most}")
    with _routed_by(model, lambda score_TN, _: score_TN.topk(num_chosen, dim=-1)):  # pyright: ignore
        yield


@contextmanager
def without_shared(model: PreTrainedModel) -> Iterator[None]:
    """The shared experts give nothing, and as many routed ones more are chosen.

    Raises:
        ConfigError: the model has no shared experts.
    """
    shared = [module for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in SHARED_NAMES]
    if not shared:
        raise ConfigError(f"{type(model).__name__} has no shared experts to swap; leave out shared_swap")
    more = num_shared(model)
    handles = [module.register_forward_hook(lambda _module, _given, output: torch.zeros_like(output)) for module in shared]
    try:
        with _routed_by(model, lambda score_TN, num_chosen: score_TN.topk(num_chosen + more, dim=-1)):  # pyright: ignore
            yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def without_routed(model: PreTrainedModel) -> Iterator[None]:
    """The routed experts give nothing."""
    routed = [module for name, module in model.named_modules() if name.rsplit(".", 1)[-1] == ROUTED_NAME]
    handles = [module.register_forward_hook(lambda _module, _given, output: torch.zeros_like(output)) for module in routed]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def num_shared(model: PreTrainedModel) -> int:
    """How many experts' width the shared ones have."""
    config: Any = model.config
    if (own := getattr(config, "n_shared_experts", None)) is not None:
        return int(own)
    width = getattr(config, "shared_expert_intermediate_size", 0) or 0
    return int(width // config.moe_intermediate_size) if width else 0


@contextmanager
def _routed_by(model: PreTrainedModel, choose: Choice) -> Iterator[None]:
    found, index = routers(model)
    normalises = bool(getattr(model.config, "norm_topk_prob", False))
    scale = float(getattr(model.config, "routed_scaling_factor", 1.0))
    if any(isinstance(router, HashRouter) for router in found.values()):
        raise ConfigError("a hash router has no scores to choose by otherwise; give a model with a learned router")

    def reroute(_router: nn.Module, _given: Any, output: Any) -> Any:
        if not (isinstance(output, tuple) and len(output) == 3):
            raise ConfigError("this model's router does not give (logits, gates, experts), so it cannot be told otherwise")
        logits = output[index]
        score_TN = logits.reshape(-1, logits.shape[-1]).softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        gate_TK, expert_TK = choose(score_TN, model.config.num_experts_per_tok)
        if normalises:
            gate_TK = gate_TK / gate_TK.sum(-1, keepdim=True)
        return logits, (gate_TK * scale).to(output[1].dtype), expert_TK

    handles = [router.register_forward_hook(reroute) for router in found.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
