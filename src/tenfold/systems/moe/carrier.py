"""A DeepSeekMoE inside Transformers' `qwen2_moe`, and back without loss: for programs that know that type alone.

qwen2_moe multiplies its shared expert by a sigmoid gate. With a gate of zeros that is 1/2, so the shared `down_proj` is
doubled; both are exact in every binary dtype. The configuration that does not carry over travels under one key of ours.
In qwen2_moe the router computes in the model's dtype: bit for bit the same where ours does too (`router_dtype` model).
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

from tenfold.core.errors import ConfigError
from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.modeling import DeepseekForCausalLM

ORIGIN = "deepseek_config"
"""Key of the carrier's configuration that holds ours."""
SHARED = {".mlp.shared_experts.": ".mlp.shared_expert."}
SAME = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "moe_intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "num_experts_per_tok",
    "norm_topk_prob",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "tie_word_embeddings",
    "rope_parameters",
    "attention_dropout",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
)


def to_qwen2_moe(model: DeepseekForCausalLM) -> Qwen2MoeForCausalLM:
    """The same function as a qwen2_moe, in the same dtype.

    Raises:
        ConfigError: the model has something that qwen2_moe has not (the message names the key).
    """
    config = model.config
    _refuse(config)
    with torch.device("meta"):
        carrier = Qwen2MoeForCausalLM(carrier_config(config))
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        state[_renamed(name, SHARED)] = tensor * 2 if name.endswith("shared_experts.down_proj.weight") else tensor.clone()
    for layer in (each for each in range(config.num_hidden_layers) if config.is_sparse(each)):
        prefix = f"model.layers.{layer}.mlp."
        like = state[f"{prefix}experts.down_proj"]
        state[f"{prefix}gate.weight"] = state[f"{prefix}gate.weight"].to(like.dtype)
        state[f"{prefix}shared_expert_gate.weight"] = like.new_zeros(1, config.hidden_size)
        if not config.n_shared_experts:
            state |= _nothing_shared(prefix, config, like)
    carrier.load_state_dict(state, strict=True, assign=True)
    return _finished(carrier, model)


def from_qwen2_moe(carrier: Qwen2MoeForCausalLM) -> DeepseekForCausalLM:
    """The DeepSeekMoE that a carrier holds; also any qwen2_moe whose shared gate is zero and that has no biases.

    Raises:
        ConfigError: the shared gate depends on the token, or attention has biases.
    """
    config = origin_config(carrier)
    state: dict[str, Tensor] = {}
    for name, tensor in carrier.state_dict().items():
        if name.endswith("shared_expert_gate.weight"):
            if bool(tensor.any()):
                raise ConfigError(f"{name} is not zero, so the shared expert is gated; deepseek has no such gate")
        elif config.n_shared_experts or ".shared_expert." not in name:
            back = {new: old for old, new in SHARED.items()}
            state[_renamed(name, back)] = tensor / 2 if name.endswith("shared_expert.down_proj.weight") else tensor.clone()
    with torch.device("meta"):
        model = DeepseekForCausalLM(config)
    model.load_state_dict(state, strict=True, assign=True)
    return _finished(model, carrier)


def carrier_config(config: DeepseekConfig) -> Qwen2MoeConfig:
    """The configuration of the carrier."""
    sparse = [layer for layer in range(config.num_hidden_layers) if config.is_sparse(layer)]
    shared = max(1, config.n_shared_experts or 0) * config.moe_intermediate_size
    origin: dict[str, Any] = {ORIGIN: {key: value for key, value in config.to_diff_dict().items() if key != "dtype"}}
    return Qwen2MoeConfig(
        **{key: getattr(config, key) for key in SAME},
        num_experts=config.n_routed_experts or 0,
        shared_expert_intermediate_size=shared,
        mlp_only_layers=[layer for layer in range(config.num_hidden_layers) if layer not in sparse],
        decoder_sparse_step=1,
        qkv_bias=False,
        use_sliding_window=False,
        router_aux_loss_coef=config.aux_loss_alpha,
        **origin,
    )


def origin_config(carrier: Qwen2MoeForCausalLM) -> DeepseekConfig:
    """Our configuration, as the carrier holds it, or read from its own keys."""
    old: Any = carrier.config
    if old.qkv_bias:
        raise ConfigError("qkv_bias is true; deepseek has biases on all of attention or on none, so this has no equal")
    if (kept := getattr(old, ORIGIN, None)) is not None:
        return DeepseekConfig.from_dict({key: value for key, value in kept.items() if key != "model_type"})  # pyright: ignore
    dense = sorted(old.mlp_only_layers or [])
    if old.decoder_sparse_step != 1 or dense != list(range(len(dense))):
        raise ConfigError(
            f"dense layers are {dense} at step {old.decoder_sparse_step}; deepseek has them at the bottom alone"
        )
    shared, wide = old.shared_expert_intermediate_size, old.moe_intermediate_size
    if shared % wide:
        raise ConfigError(f"the shared expert is {shared} wide, which is no multiple of the experts' {wide}")
    return DeepseekConfig(
        **{key: getattr(old, key) for key in SAME},
        n_routed_experts=old.num_experts,
        n_shared_experts=shared // wide,
        first_k_dense_replace=len(dense),
        aux_loss_alpha=old.router_aux_loss_coef,
        router_dtype="model",
    )


def _refuse(config: DeepseekConfig) -> None:
    limits = {
        "router": (config.router, "topk"),
        "routed_scaling_factor": (config.routed_scaling_factor, 1.0),
        "attention_bias": (config.attention_bias, False),
        "balance_bias": (config.balance_bias, False),
    }
    for key, (value, accepted) in limits.items():
        if value != accepted:
            raise ConfigError(f"{key} is {value!r}; qwen2_moe can only carry {accepted!r}, so choose another export")
    if not config.n_routed_experts:
        raise ConfigError("the model has no routed experts; a dense model needs no carrier, export it as deepseek")


def _renamed(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        name = name.replace(old, new)
    return name


def _nothing_shared(prefix: str, config: DeepseekConfig, like: Tensor) -> dict[str, Tensor]:
    wide, width = config.moe_intermediate_size, config.hidden_size
    shapes = {"gate": (wide, width), "up": (wide, width), "down": (width, wide)}
    return {f"{prefix}shared_expert.{part}_proj.weight": like.new_zeros(shape) for part, shape in shapes.items()}


def _finished(made: Any, source: Any) -> Any:
    """Rotary frequencies anew (they are no part of the state), tied weights tied, and ready for inference."""
    made.model.rotary_emb = type(made.model.rotary_emb)(made.config)
    made.tie_weights()
    made.generation_config = source.generation_config
    return made.eval()
