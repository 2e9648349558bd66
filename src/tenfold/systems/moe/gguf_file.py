"""A DeepSeekMoE as a GGUF file of architecture `deepseek`, which llama.cpp runs: a model and a tokenizer in, a file out.

What llama.cpp fixes is refused here: gates that are normalised or scaled, no shared expert, biases. Rows of the query and
key projections are permuted, since its rotation pairs neighbours where Transformers' pairs halves.
"""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tenfold.core.errors import ConfigError
from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.modeling import DeepseekForCausalLM, DeepseekMoE

ARCHITECTURE = "deepseek"
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
}
SPLITTERS = {"Digits": "smollm", "ByteLevel": "gpt-2"}
"""How llama.cpp calls the way a tokenizer splits text, by the first step of the tokenizer's own splitter."""


def write_gguf(model: DeepseekForCausalLM, tokenizer: PreTrainedTokenizerBase, path: Path, *, dtype: str = "f32") -> None:
    """Writes the file; norms and routers stay float32.

    Raises:
        ConfigError: the model or the tokenizer is outside what llama.cpp computes (the message names the key).
    """
    refuse(model.config)
    splitter = splitter_of(tokenizer)
    writer = gguf.GGUFWriter(str(path), ARCHITECTURE)
    _add_keys(writer, model.config, dtype)
    _add_tokenizer(writer, tokenizer, splitter, model.config.vocab_size)
    for name, tensor in tensors(model).items():
        wanted = DTYPES[dtype] if tensor.dim() > 1 and "ffn_gate_inp" not in name else torch.float32
        _add_tensor(writer, name, tensor, wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(model: DeepseekForCausalLM) -> dict[str, Tensor]:
    """Every tensor under llama.cpp's name; the head is written out where it is tied."""
    config = model.config
    found = {
        "token_embd.weight": model.model.embed_tokens.weight,
        "output_norm.weight": model.model.norm.weight,
        "output.weight": model.lm_head.weight,
    }
    for number, each in enumerate(model.model.layers):
        layer: Any = each
        attention, mlp = layer.self_attn, layer.mlp
        own = {
            "attn_norm": layer.input_layernorm.weight,
            "ffn_norm": layer.post_attention_layernorm.weight,
            "attn_q": interleaved(attention.q_proj.weight, config.num_attention_heads),
            "attn_k": interleaved(attention.k_proj.weight, config.num_key_value_heads or 1),
            "attn_v": attention.v_proj.weight,
            "attn_output": attention.o_proj.weight,
        }
        own |= _mixture(mlp) if isinstance(mlp, DeepseekMoE) else _network(mlp, "")
        found |= {f"blk.{number}.{name}.weight": tensor for name, tensor in own.items()}
    return {name: tensor.detach() for name, tensor in found.items()}


def interleaved(weight_OD: Tensor, num_heads: int) -> Tensor:
    """Rows of each head as llama.cpp rotates them: pair j is rows 2j and 2j + 1, where ours is j and j + half."""
    return weight_OD.unflatten(0, (num_heads, 2, -1)).transpose(1, 2).reshape(weight_OD.shape)


def halved(weight_OD: Tensor, num_heads: int) -> Tensor:
    """The inverse of `interleaved`."""
    return weight_OD.unflatten(0, (num_heads, -1, 2)).transpose(1, 2).reshape(weight_OD.shape)


def refuse(config: DeepseekConfig) -> None:
    """ConfigError, with the key at fault, for what llama.cpp's `deepseek` does not compute."""
    limits: dict[str, tuple[Any, Any]] = {
        "router": (config.router, "topk"),
        "norm_topk_prob": (config.norm_topk_prob, False),
        "routed_scaling_factor": (config.routed_scaling_factor, 1.0),
        "attention_bias": (config.attention_bias, False),
        "balance_bias": (config.balance_bias, False),
        "moe_layer_freq": (config.moe_layer_freq, 1),
        "rope_type": ((config.rope_parameters or {}).get("rope_type", "default"), "default"),
    }
    for key, (value, accepted) in limits.items():
        if value != accepted:
            raise ConfigError(
                f"{key} is {value!r}; llama.cpp's deepseek computes {accepted!r} alone, so choose another export"
            )
    if not config.n_routed_experts or not config.n_shared_experts:
        raise ConfigError("llama.cpp's deepseek needs routed and shared experts; export this model as deepseek or qwen2_moe")


def splitter_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """What llama.cpp calls this tokenizer's way of splitting text.

    Raises:
        ConfigError: it is no byte-level BPE that llama.cpp knows.
    """
    described = _described(tokenizer)
    step = described.get("pre_tokenizer") or {}
    first = (step.get("pretokenizers") or [step])[0].get("type")
    if described["model"]["type"] != "BPE" or first not in SPLITTERS:
        raise ConfigError(f"the tokenizer is a {described['model']['type']} split by {first}; a byte-level BPE is accepted")
    return SPLITTERS[first]


def _described(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ConfigError(f"{type(tokenizer).__name__} is not backed by the tokenizers library; a fast tokenizer is needed")
    return json.loads(backend.to_str())


def _network(mlp: Any, suffix: str) -> dict[str, Tensor]:
    return {f"ffn_{part}{suffix}": getattr(mlp, f"{part}_proj").weight for part in ("gate", "up", "down")}


def _mixture(mlp: DeepseekMoE) -> dict[str, Tensor]:
    experts: Any = mlp.experts
    router: Any = mlp.gate
    gate_NID, up_NID = experts.gate_up_proj.chunk(2, dim=1)
    return {
        "ffn_gate_inp": router.weight,
        "ffn_gate_exps": gate_NID,
        "ffn_up_exps": up_NID,
        "ffn_down_exps": experts.down_proj,
        **_network(mlp.shared_experts, "_shexp"),
    }


def _add_keys(writer: gguf.GGUFWriter, config: DeepseekConfig, dtype: str) -> None:
    rope: dict[str, Any] = config.rope_parameters or {}
    writer.add_file_type(FILE_TYPES[dtype])
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads or config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope.get("rope_theta", 10000.0))
    writer.add_rope_dimension_count(config.head_dim or config.hidden_size // config.num_attention_heads)
    writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    writer.add_vocab_size(config.vocab_size)
    writer.add_leading_dense_block_count(config.first_k_dense_replace)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_expert_count(config.n_routed_experts or 0)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_shared_count(config.n_shared_experts or 0)
    writer.add_expert_weights_scale(1.0)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, splitter: str, size: int) -> None:
    described = _described(tokenizer)
    tokens = {place: token for token, place in described["model"]["vocab"].items()}
    added = {each["id"]: each for each in described["added_tokens"]}
    kinds = []
    for place in range(size):
        kinds.append(gguf.TokenType.NORMAL if place in tokens else gguf.TokenType.UNUSED)
        if place in added:
            kinds[-1] = gguf.TokenType.CONTROL if added[place]["special"] else gguf.TokenType.USER_DEFINED
            tokens[place] = added[place]["content"]
    merges = [each if isinstance(each, str) else " ".join(each) for each in described["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitter)
    writer.add_token_list([tokens.get(place, f"[unused {place}]") for place in range(size)])
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    for add, place in ((writer.add_bos_token_id, tokenizer.bos_token_id), (writer.add_eos_token_id, tokenizer.eos_token_id)):
        if isinstance(place, int):
            add(place)
    writer.add_add_bos_token(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _add_tensor(writer: gguf.GGUFWriter, name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    tensor = tensor.contiguous().to(dtype).cpu()
    if dtype == torch.bfloat16:
        writer.add_tensor(name, tensor.view(torch.uint8).numpy(), raw_dtype=gguf.GGMLQuantizationType.BF16)
    else:
        writer.add_tensor(name, np.ascontiguousarray(tensor.numpy()))
