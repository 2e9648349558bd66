"""The routers of any Transformers model, and what they decide: modules and outputs come in, logits and choices go out."""

# T tokens, N routed experts, K chosen experts per token
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.output_capturing import OutputRecorder

from tenfold.core.errors import ConfigError
from tenfold.systems.moe.router import HashRouter, choose


def routers(model: PreTrainedModel) -> tuple[dict[str, nn.Module], int]:
    """The modules that Transformers records router logits of, by name, and the place of the logits in their output.

    Raises:
        ConfigError: the model has no router.
    """
    for module in model.modules():
        recorder = getattr(module, "_can_record_outputs", None) or {}
        recorded = recorder.get("router_logits")
        if isinstance(recorded, OutputRecorder):
            classes = (recorded.target_class, HashRouter)
            found = {name: each for name, each in model.named_modules() if isinstance(each, classes)}
            if found:
                return found, recorded.index
    raise ConfigError(f"{type(model).__name__} has no router; give a model with routed experts")


def routing_of(router: nn.Module, output: Any, index: int, num_chosen: int) -> tuple[Tensor, Tensor]:
    """(logits [T, N], chosen experts [T, K]) of a router's output; a bias of ours counts in the choice."""
    logits = output[index] if isinstance(output, tuple) else output
    logits_TN = logits.reshape(-1, logits.shape[-1])
    if isinstance(router, HashRouter):
        return logits_TN, output[2]
    # Detached: checkpointing insists that both passes through a layer save the same tensors.
    return logits_TN, choose(logits_TN.detach(), num_chosen, getattr(router, "bias", None))[1]


class Routings(dict[str, tuple[Tensor, Tensor]]):
    """Each router's (logits [T, N], chosen [T, K]) of the last forward pass, by the router's name."""


@contextmanager
def tapped(model: PreTrainedModel) -> Iterator[Routings]:
    """Listens to all routers; what the last pass decided is in the mapping.

    Raises:
        ConfigError: the model has no router.
    """
    found, index = routers(model)
    last = Routings()

    def listen(name: str) -> Any:
        def keep(router: nn.Module, _given: Any, output: Any) -> None:
            last[name] = tuple(each.detach() for each in routing_of(router, output, index, num_chosen))  # pyright: ignore

        return keep

    num_chosen = model.config.num_experts_per_tok
    handles = [router.register_forward_hook(listen(name)) for name, router in found.items()]
    try:
        yield last
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def counted(model: PreTrainedModel, ids_BS: Tensor) -> dict[str, Tensor]:
    """How often each expert is chosen in one pass, [N] by router."""
    with tapped(model) as last:
        model(input_ids=ids_BS, use_cache=False)
        return {
            name: torch.bincount(expert_TK.flatten(), minlength=logits_TN.shape[-1])
            for name, (logits_TN, expert_TK) in last.items()
        }
