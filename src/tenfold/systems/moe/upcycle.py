"""A dense model turned into a DeepSeekMoE that computes the same: weights come in, a mixture to train on goes out.

Each feed-forward network is cut into m slices of its inner width. K_s of them become the shared experts; of each of the
other K' = m - K_s there are R copies, N' = R K' routed experts. All slices of a copy share one row of the router, so that
their scores tie and the top K' are one whole copy; its gates are 1/N' but for `epsilon`, and the routed `down_proj` is N'
times the dense one. What training does is to tell the copies apart. The router must compute in float32: see `epsilon`.

A single step of an optimizer is larger than the rows of such a router, and would let tokens mix slices of several copies,
some twice and some not at all: what the model knew is gone. `hold_ties` keeps the rows of a copy equal while it trains.
"""

# D model width, I inner width of the dense network, W = I / m width of a slice

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedModel

from tenfold.core.errors import ConfigError
from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.modeling import SORTED, DeepseekForCausalLM, DeepseekMoE

ALIGN = 8
UNDECAYED = ("experts.down_proj",)
"""The scaled matrices: weight decay would pull them N' times as hard."""
SCORING_TOKENS = 2048


@dataclass(frozen=True)
class Cut:
    """How a feed-forward network becomes experts.

    Raises:
        ConfigError: the numbers leave no routed expert, or epsilon is too small for ties to hold in float32.
    """

    segments: int = 8
    """m, slices of each network."""
    shared: int = 2
    """K_s, slices that become shared experts."""
    copies: int = 4
    """R, copies of each other slice."""
    epsilon: float = 1e-3
    """How far the copies' scores differ at the start; also the relative error of a layer."""
    first_dense: int = 1
    """Layers at the bottom that stay dense."""
    drop: float = 0.0
    """Share of the neurons of each copy that starts anew; then the function is not the same."""

    def __post_init__(self) -> None:
        if not 0 <= self.shared < self.segments or self.copies < 1:
            raise ConfigError(
                f"{self.segments} segments with {self.shared} shared and {self.copies} copies leave no routed expert; "
                "shared must be below segments, copies at least 1"
            )
        if not 1e-3 <= self.epsilon <= 0.1:
            raise ConfigError(f"epsilon is {self.epsilon}; below 1e-3 rounding makes ties, above 0.1 the function changes")
        if not 0 <= self.drop < 1:
            raise ConfigError(f"drop is {self.drop}; give a share from 0 to below 1")

    @property
    def chosen(self) -> int:
        """K', routed experts of a token."""
        return self.segments - self.shared

    @property
    def routed(self) -> int:
        """N', routed experts."""
        return self.chosen * self.copies


def upcycle(
    dense: PreTrainedModel,
    cut: Cut,
    *,
    order: Sequence[Tensor] | None = None,
    centres: Sequence[Tensor] | None = None,
    seed: int = 0,
) -> DeepseekForCausalLM:
    """The mixture, in the dtype of the dense model.

    Args:
        order: of each layer's neurons, [I]; the first go to the shared experts. None leaves them as they are.
        centres: each layer's mean input, [D]; rows of the router are made to disregard it, since what all tokens have in
            common would send all of them to one copy.
        seed: of the router and of neurons that start anew.

    Raises:
        ConfigError: the model is no Llama without biases, or its inner width cannot be cut that way.
    """
    config = mixture_config(dense, cut)
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        model = DeepseekForCausalLM(config)
    state = dense.state_dict()
    found = {name: tensor.clone() for name, tensor in state.items() if ".mlp." not in name}
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}.mlp."
        parts = {part: state[f"{prefix}{part}_proj.weight"] for part in ("gate", "up", "down")}
        if not config.is_sparse(layer):
            found |= {f"{prefix}{part}_proj.weight": weight.clone() for part, weight in parts.items()}
            continue
        if order is not None:
            parts = {
                "gate": parts["gate"][order[layer]],
                "up": parts["up"][order[layer]],
                "down": parts["down"][:, order[layer]],
            }
        found |= {prefix + name: tensor for name, tensor in _experts(parts, cut, config, generator).items()}
        if centres is not None:
            found[f"{prefix}gate.weight"] = _without(found[f"{prefix}gate.weight"], centres[layer])
    model.load_state_dict(found, strict=False, assign=True)
    _fill_buffers(model, config)
    model.tie_weights()
    model.set_experts_implementation(SORTED)
    model.generation_config = dense.generation_config
    return model.eval()


def mixture_config(dense: PreTrainedModel, cut: Cut) -> DeepseekConfig:
    """The configuration of the mixture.

    Raises:
        ConfigError: the model is no Llama without biases, or its inner width cannot be cut that way.
    """
    old: Any = dense.config
    if not isinstance(dense, LlamaForCausalLM) or old.attention_bias or old.mlp_bias or old.hidden_act != "silu":
        raise ConfigError(f"{type(dense).__name__} cannot be upcycled; give a Llama without biases, such as smollm2")
    if old.intermediate_size % (ALIGN * cut.segments):
        wanted = ALIGN * cut.segments
        raise ConfigError(
            f"the inner width {old.intermediate_size} is no multiple of {ALIGN} * segments = {wanted}; the next that is "
            f"would be {-(-old.intermediate_size // wanted) * wanted}; choose other segments"
        )
    kept = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    kept += ("num_key_value_heads", "head_dim", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings")
    kept += ("initializer_range", "rope_parameters", "bos_token_id", "eos_token_id", "pad_token_id")
    return DeepseekConfig(
        **{key: getattr(old, key) for key in kept},
        moe_intermediate_size=old.intermediate_size // cut.segments,
        n_routed_experts=cut.routed,
        n_shared_experts=cut.shared or None,
        num_experts_per_tok=cut.chosen,
        first_k_dense_replace=cut.first_dense,
        router_dtype="float32",
    )


def hold_ties(model: DeepseekForCausalLM, cut: Cut) -> list[Any]:
    """Hooks that give the rows of each copy one gradient, so that a token goes on taking whole copies; the handles."""

    def one(grad_ND: Tensor) -> Tensor:
        grad_RKD = grad_ND.unflatten(0, (cut.copies, cut.chosen))
        return grad_RKD.mean(1, keepdim=True).expand_as(grad_RKD).reshape(grad_ND.shape)

    gates = [module.gate.weight for module in model.modules() if isinstance(module, DeepseekMoE)]
    return [gate.register_hook(one) for gate in gates if isinstance(gate, Tensor) and gate.requires_grad]


@torch.no_grad()
def mean_inputs(dense: PreTrainedModel, ids_BS: Tensor) -> list[Tensor]:
    """What each layer's feed-forward network is given on this text, on average; [D] in float32."""
    sums: dict[int, Tensor] = {}

    def listen(place: int) -> Any:
        def add(_module: nn.Module, given: Any) -> None:
            sums[place] = sums.get(place, torch.zeros(())) + given[0].float().flatten(0, -2).mean(0)

        return add

    networks = [layer.mlp for layer in dense.model.layers]  # pyright: ignore
    handles = [network.register_forward_pre_hook(listen(place)) for place, network in enumerate(networks)]
    for row_1S in ids_BS.split(1):
        dense(input_ids=row_1S.to(dense.device), use_cache=False)
    for handle in handles:
        handle.remove()
    return [sums[place] / len(ids_BS) for place in range(len(networks))]


def neuron_order(dense: PreTrainedModel, ids_BS: Tensor) -> list[Tensor]:
    """Each layer's neurons [I], those that matter most first: mean |activation| times the norm of its column."""
    sums: dict[int, Tensor] = {}
    downs = [layer.mlp.down_proj for layer in dense.model.layers]  # pyright: ignore

    def listen(place: int) -> Any:
        def add(_module: nn.Module, given: Any) -> None:
            sums[place] = sums.get(place, torch.zeros(())) + given[0].detach().float().abs().flatten(0, -2).sum(0)

        return add

    handles = [down.register_forward_pre_hook(listen(place)) for place, down in enumerate(downs)]
    with torch.no_grad():
        for row_1S in ids_BS.split(1):
            dense(input_ids=row_1S.to(dense.device), use_cache=False)
    for handle in handles:
        handle.remove()
    scores = [sums[place] * down.weight.detach().float().norm(dim=0) for place, down in enumerate(downs)]
    return [score.argsort(descending=True, stable=True) for score in scores]


def _experts(parts: dict[str, Tensor], cut: Cut, config: DeepseekConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """The tensors of one mixture layer, from the three matrices of the dense one."""
    wide = config.moe_intermediate_size
    split = cut.shared * wide
    found = {}
    if split:
        found = {
            "shared_experts.gate_proj.weight": parts["gate"][:split].clone(),
            "shared_experts.up_proj.weight": parts["up"][:split].clone(),
            "shared_experts.down_proj.weight": parts["down"][:, :split].contiguous(),
        }
    width = config.hidden_size
    gate_KWD, up_KWD = (parts[name][split:].view(cut.chosen, wide, width) for name in ("gate", "up"))
    down_KDW = parts["down"][:, split:].unflatten(1, (cut.chosen, wide)).transpose(0, 1)
    gate_up_NFD = torch.cat([gate_KWD, up_KWD], dim=1).repeat(cut.copies, 1, 1)
    down_NDW = (down_KDW.float() * cut.routed).to(down_KDW.dtype).repeat(cut.copies, 1, 1)
    if cut.drop:
        _start_anew(gate_up_NFD, down_NDW, cut, config.initializer_range, generator)
    row_RD = torch.randn(cut.copies, width, generator=generator) * cut.epsilon / width**0.5
    return found | {
        "experts.gate_up_proj": gate_up_NFD,
        "experts.down_proj": down_NDW,
        "gate.weight": row_RD.repeat_interleave(cut.chosen, dim=0),
    }


def _without(row_ND: Tensor, centre_D: Tensor) -> Tensor:
    """Rows less their part along the centre."""
    unit_D = centre_D.cpu() / centre_D.norm().clamp(min=1e-12)
    return row_ND - (row_ND @ unit_D).unsqueeze(-1) * unit_D


def _start_anew(gate_up_NFD: Tensor, down_NDW: Tensor, cut: Cut, deviation: float, generator: torch.Generator) -> None:
    wide = down_NDW.shape[-1]
    for gate_up_FD, down_DW in zip(gate_up_NFD, down_NDW, strict=True):
        places = torch.randperm(wide, generator=generator)[: round(cut.drop * wide)]
        for start in (0, wide):
            fresh = torch.randn(len(places), gate_up_FD.shape[1], generator=generator) * deviation
            gate_up_FD[start + places] = fresh.to(gate_up_FD)
        fresh = torch.randn(down_DW.shape[0], len(places), generator=generator) * deviation * cut.routed
        down_DW[:, places] = fresh.to(down_DW)


def _fill_buffers(model: DeepseekForCausalLM, config: DeepseekConfig) -> None:
    """Rotary frequencies are no part of the state, so they are made anew where the model was made without memory."""
    fresh = type(model.model.rotary_emb)(config)  # pyright: ignore[reportArgumentType]
    model.model.rotary_emb = fresh
    for module in model.modules():
        if isinstance(module, DeepseekMoE):
            module.gate.float()  # float32 whatever the rest is: ties need it
