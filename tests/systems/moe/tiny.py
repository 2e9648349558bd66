"""Tiny random models of the family `deepseek`."""

from typing import Any

import torch

from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.modeling import DeepseekForCausalLM


def tiny_config(**changes: Any) -> DeepseekConfig:
    settings = {
        "vocab_size": 61,
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "n_routed_experts": 8,
        "n_shared_experts": 2,
        "num_experts_per_tok": 3,
        "initializer_range": 0.2,
        "max_position_embeddings": 64,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    return DeepseekConfig(**{**settings, **changes})


def tiny_model(seed: int = 0, **changes: Any) -> DeepseekForCausalLM:
    torch.manual_seed(seed)
    return DeepseekForCausalLM(tiny_config(**changes)).eval()
