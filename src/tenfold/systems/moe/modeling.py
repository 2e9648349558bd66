"""The model family `deepseek` for Transformers: configuration comes in, a causal language model goes out.

Attention, RoPE and norms are Transformers' Llama parts. Ours is the feed-forward part: shared experts, which are one network
of their joint width, and routed experts, held as two three-dimensional weights. Files always carry the official names, with
one matrix per expert: Transformers' weight converter splits and stacks them. Equations 9-11 of arXiv 2401.06066.
"""

# B rows, S positions, T = B * S tokens, D model width, I feed-forward width

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
    initialization,
)
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Concatenate, MergeModulelist, WeightConverter
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, use_experts_implementation
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import MoeCausalLMOutputWithPast, MoeModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRMSNorm, LlamaRotaryEmbedding
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.grouped import expert_sum
from tenfold.systems.moe.router import HashRouter, TopKRouter

SORTED = "tenfold_sorted"
"""Our experts implementation, beside Transformers' eager, batched_mm and grouped_mm."""


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)): a dense layer's network, or the shared experts' at their joint width."""

    def __init__(self, config: DeepseekConfig, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.down_proj = nn.Linear(width, config.hidden_size, bias=False)

    def forward(self, x_D: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x_D)) * self.up_proj(x_D))


@use_experts_implementation
class DeepseekExperts(nn.Module):
    """The routed experts; the decorator sends calls to the implementation that the configuration names."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        assert config.n_routed_experts
        self.num_experts = config.n_routed_experts
        width, wide = config.hidden_size, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(self.num_experts, 2 * wide, width))
        self.down_proj = nn.Parameter(torch.empty(self.num_experts, width, wide))
        self.act_fn = nn.SiLU()

    def forward(self, x_TD: Tensor, expert_TK: Tensor, weight_TK: Tensor) -> Tensor:
        """The plain loop (`eager`): expert by expert, the tokens that chose it."""
        out_TD = torch.zeros_like(x_TD)
        for expert in range(self.num_experts):
            token, place = torch.where(expert_TK == expert)
            gate_up, down = self.gate_up_proj[expert], self.down_proj[expert]
            gate, up = functional.linear(x_TD[token], gate_up).chunk(2, dim=-1)
            found = functional.linear(functional.silu(gate) * up, down) * weight_TK[token, place, None]
            out_TD = out_TD.index_add(0, token, found.to(out_TD.dtype))
        return out_TD


def _sorted_experts(experts: Any, x_TD: Tensor, expert_TK: Tensor, weight_TK: Tensor) -> Tensor:
    """Where experts lie on several devices, an id from `num_experts` on marks a slot that another device computes."""
    elsewhere_TK = expert_TK >= experts.num_experts if experts._is_expert_parallel else None
    if elsewhere_TK is not None:
        expert_TK, weight_TK = expert_TK.masked_fill(elsewhere_TK, 0), weight_TK.masked_fill(elsewhere_TK, 0.0)
    return expert_sum(x_TD, expert_TK, weight_TK, experts.gate_up_proj, experts.down_proj)


ALL_EXPERTS_FUNCTIONS.register(SORTED, _sorted_experts)


class DeepseekMoE(nn.Module):
    """Equation 9 without its residual: shared experts on every token, plus the gated sum of the chosen ones."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        self.gate = HashRouter(config) if config.router == "hash" else TopKRouter(config)
        self.experts = DeepseekExperts(config)
        shared = config.n_shared_experts or 0
        self.shared_experts = SwiGLU(config, shared * config.moe_intermediate_size) if shared else None

    def forward(self, x_BSD: Tensor, token_ids_BS: Tensor | None = None) -> Tensor:
        x_TD = x_BSD.flatten(0, 1)
        _, weight_TK, expert_TK = self.gate(x_TD, None if token_ids_BS is None else token_ids_BS.flatten())
        out_TD = self.experts(x_TD, expert_TK, weight_TK)
        if self.shared_experts is not None:
            out_TD = out_TD + self.shared_experts(x_TD)
        return out_TD.view_as(x_BSD)


class DeepseekDecoderLayer(GradientCheckpointingLayer):
    """Attention, then a dense network or experts, each behind a norm and beside a residual."""

    def __init__(self, config: DeepseekConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = LlamaAttention(config, layer)  # pyright: ignore[reportArgumentType]
        self.mlp = DeepseekMoE(config) if config.is_sparse(layer) else SwiGLU(config, config.intermediate_size)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states: Tensor, token_ids_BS: Tensor | None = None, **kwargs: Any) -> Tensor:
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        hidden_states = hidden_states + attended
        normed = self.post_attention_layernorm(hidden_states)
        sparse = isinstance(self.mlp, DeepseekMoE)
        return hidden_states + (self.mlp(normed, token_ids_BS) if sparse else self.mlp(normed))


class DeepseekPreTrainedModel(PreTrainedModel):
    config: DeepseekConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    config_class = DeepseekConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["DeepseekDecoderLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {  # noqa: RUF012
        "router_logits": OutputRecorder(TopKRouter, index=0),
        "hidden_states": DeepseekDecoderLayer,
        "attentions": LlamaAttention,
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, DeepseekExperts):
            for weight in module.parameters():
                initialization.normal_(weight, mean=0.0, std=std)
        elif isinstance(module, TopKRouter):
            initialization.normal_(module.weight, mean=0.0, std=std)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        elif isinstance(module, HashRouter):
            initialization.copy_(module.table, torch.arange(self.config.vocab_size) % module.num_experts)


class DeepseekModel(DeepseekPreTrainedModel):
    """The decoder without its head."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(DeepseekDecoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config)  # pyright: ignore[reportArgumentType]
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> MoeModelOutputWithPast:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds, not both and not neither")
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(hidden.shape[1], device=hidden.device) + seen).unsqueeze(0)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        rotation = self.rotary_emb(hidden, position_ids)
        for layer in self.layers:
            hidden = layer(
                hidden,
                token_ids_BS=input_ids,
                attention_mask=mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                position_embeddings=rotation,
                **kwargs,
            )
        kept = past_key_values if use_cache else None
        return MoeModelOutputWithPast(last_hidden_state=self.norm(hidden), past_key_values=kept)


class DeepseekForCausalLM(DeepseekPreTrainedModel, GenerationMixin):
    """The language model. Its loss is the cross-entropy alone: balance losses are attached, see `losses`."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012
    _tp_plan = {"lm_head": "colwise_gather_output"}  # noqa: RUF012
    _fsdp_plan = {"lm_head": "keep_full_weight"}  # noqa: RUF012

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__(config)
        self.model = DeepseekModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> MoeCausalLMOutputWithPast:
        found = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        logits = self.lm_head(found.last_hidden_state[:, -logits_to_keep:])
        loss = None if labels is None else self.loss_function(logits, labels, self.vocab_size, **kwargs)
        return MoeCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=found.past_key_values,
            hidden_states=found.hidden_states,
            attentions=found.attentions,
            router_logits=found.router_logits,
        )


def register() -> None:
    """Makes `deepseek` known to Transformers' Auto classes and to its weight converter; harmless when repeated."""
    AutoConfig.register("deepseek", DeepseekConfig, exist_ok=True)
    AutoModel.register(DeepseekConfig, DeepseekModel, exist_ok=True)
    AutoModelForCausalLM.register(DeepseekConfig, DeepseekForCausalLM, exist_ok=True)
    register_checkpoint_conversion_mapping("deepseek", _converters(), overwrite=True)


def _converters() -> list[Any]:
    gate_and_up = ["mlp.experts.*.gate_proj.weight", "mlp.experts.*.up_proj.weight"]
    return [
        WeightConverter(gate_and_up, "mlp.experts.gate_up_proj", [MergeModulelist(dim=0), Concatenate(dim=1)]),
        WeightConverter("mlp.experts.*.down_proj.weight", "mlp.experts.down_proj", [MergeModulelist(dim=0)]),
    ]


register()
