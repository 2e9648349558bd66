"""The weights of a Llama-architecture model (Llama, Mistral, Qwen2), fused and packed for `LeanLlama`.

In: a config and a state dict as Transformers names them. Query, key and value maps become one product, gate and up
another; the rows of queries and keys are reordered so that the rotary embedding is one complex product.
"""

# V vocabulary, D model width, S positions, F half the head width
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tenfold.nn import linear

State = Mapping[str, Tensor]

MODEL_TYPES = ("llama", "mistral", "qwen2")
ROPE_TYPES = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class Shape:
    """The sizes that the forward pass needs."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_width: int
    eps: float

    @staticmethod
    def of(config: PretrainedConfig) -> "Shape":
        return Shape(
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            head_width=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            eps=config.rms_norm_eps,
        )

    @property
    def group(self) -> int:
        """Query heads per key-value head."""
        return self.num_heads // self.num_kv_heads

    @property
    def num_rotated(self) -> int:
        """Heads that the rotary embedding turns: queries and keys."""
        return self.num_heads + self.num_kv_heads


@dataclass(frozen=True)
class Layer:
    """One decoder layer."""

    attention_norm_D: Tensor
    qkv: linear.Linear
    output: linear.Linear
    mlp_norm_D: Tensor
    gate_up: linear.Linear
    down: linear.Linear

    @property
    def products(self) -> Sequence[linear.Linear]:
        return self.qkv, self.output, self.gate_up, self.down


@dataclass(frozen=True)
class Weights:
    """A whole model."""

    shape: Shape
    embedding_VD: Tensor
    layers: Sequence[Layer]
    final_norm_D: Tensor
    head: linear.Linear
    rotation_SF: Tensor
    """Complex: what position s multiplies the f-th pair of every head by."""

    @property
    def rounds_products(self) -> bool:
        """Whether some product is computed in 16 bits."""
        products = [self.head, *(part for layer in self.layers for part in layer.products)]
        return any(isinstance(product, linear.NativeLinear) and product.is_coarse for product in products)


def supports(config: PretrainedConfig) -> bool:
    """Whether `config` describes a model that `LeanLlama` computes."""
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in MODEL_TYPES
        and not _slides(config)
        and config.hidden_act == "silu"
        and rope.get("rope_type", "default") in ROPE_TYPES
        and rope.get("partial_rotary_factor", 1.0) == 1.0
    )


def load(config: PretrainedConfig, state: State, *, kernel: linear.Kernel, device: torch.device) -> Weights:
    """Fuses and packs a state dict, on all cores.

    Raises:
        ValueError: the config describes a model outside the Llama architecture.
    """
    if not supports(config):
        raise ValueError(f"cannot run a {config.model_type} model with this config; {', '.join(MODEL_TYPES)} are accepted")
    builder = _Builder(state, Shape.of(config), kernel, device)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        head = pool.submit(builder.fused, ["model.embed_tokens" if config.tie_word_embeddings else "lm_head"])
        layers = list(pool.map(builder.layer, range(config.num_hidden_layers)))
    return Weights(
        shape=builder.shape,
        # A copy of its own: rows of a mapped file would keep the whole file in memory beside the packed weights.
        embedding_VD=state["model.embed_tokens.weight"].to(device, copy=True),
        layers=layers,
        final_norm_D=builder.vector("model.norm.weight"),
        head=head.result(),
        rotation_SF=_rotation(config).to(device),
    )


@dataclass(frozen=True)
class _Builder:
    state: State
    shape: Shape
    kernel: linear.Kernel
    device: torch.device

    def layer(self, index: int) -> Layer:
        name = f"model.layers.{index}."
        return Layer(
            attention_norm_D=self.vector(f"{name}input_layernorm.weight"),
            qkv=self.fused([f"{name}self_attn.{part}_proj" for part in "qkv"]),
            output=self.fused([f"{name}self_attn.o_proj"]),
            mlp_norm_D=self.vector(f"{name}post_attention_layernorm.weight"),
            gate_up=self.fused([f"{name}mlp.gate_proj", f"{name}mlp.up_proj"]),
            down=self.fused([f"{name}mlp.down_proj"]),
        )

    def vector(self, name: str) -> Tensor:
        return self.state[name].float().to(self.device)

    def fused(self, names: Sequence[str]) -> linear.Linear:
        """The named maps stacked into one."""
        weight = torch.cat([self._arranged(name, "weight") for name in names]).to(self.device)
        has_bias = f"{names[0]}.bias" in self.state
        bias = torch.cat([self._arranged(name, "bias") for name in names]).to(self.device) if has_bias else None
        return linear.build(weight, bias, kernel=self.kernel)

    def _arranged(self, name: str, part: str) -> Tensor:
        """Transformers rotates rows (i, i + F) of a head; a complex product rotates (2i, 2i + 1): interleave the halves."""
        rows = self.state[f"{name}.{part}"]
        if not name.endswith(("q_proj", "k_proj")):
            return rows
        return rows.unflatten(0, (-1, 2, self.shape.head_width // 2)).transpose(1, 2).reshape(rows.shape)


def _slides(config: PretrainedConfig) -> bool:
    uses_window = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    return bool(uses_window) or "sliding_attention" in (getattr(config, "layer_types", None) or ())


def _rotation(config: PretrainedConfig) -> Tensor:
    """The rotary table [S, F], complex; longer-context variants come from Transformers' own formulas."""
    rope_type = config.rope_parameters.get("rope_type", "default")
    if rope_type == "default":
        head_width, scale = Shape.of(config).head_width, 1.0
        inverse_F = config.rope_parameters["rope_theta"] ** -(torch.arange(0, head_width, 2).float() / head_width)
    else:
        inverse_F, scale = ROPE_INIT_FUNCTIONS[rope_type](config, torch.device("cpu"))
    angle_SF = torch.outer(torch.arange(config.max_position_embeddings).float(), inverse_F)
    return torch.polar(torch.full_like(angle_SF, scale), angle_SF)
