"""Training FLOPs and parameters of a model, from its shape alone.

The formula reproduces every figure of arXiv 2401.06066 (tables 1, 3, 5 and 6): forward and backward, S tokens,

    S * (6 * (L * (4 d^2 + 8 a d^2) + V d) + 12 L d S)

where `a` is the activated feed-forward width in standard layers of 8 d^2 parameters.
"""

from dataclasses import dataclass

from tenfold.core.errors import ConfigError
from tenfold.systems.moe.configuration import DeepseekConfig


@dataclass(frozen=True)
class Shape:
    """What the formula needs: layers, model width, vocabulary, sequence length, activated feed-forward layers."""

    num_layers: int
    width: int
    vocabulary: int
    length: int
    activated_ffns: float = 1.0


def training_flops(shape: Shape) -> float:
    """FLOPs of one sequence, forward and backward.

    Raises:
        ConfigError: a number is not positive.
    """
    layers, width, tokens = shape.num_layers, shape.width, shape.length
    if min(layers, width, shape.vocabulary, tokens, shape.activated_ffns) <= 0:
        raise ConfigError(f"{shape} holds a number that is not positive; give positive ones")
    weights = layers * (4 * width**2 + shape.activated_ffns * 8 * width**2) + shape.vocabulary * width
    return tokens * (6 * weights + 12 * layers * width * tokens)


@dataclass(frozen=True)
class Parameters:
    """Counts of weights; `activated` leaves out the routed experts that a token does not choose."""

    total: int
    activated: int
    experts: int


def count_parameters(config: DeepseekConfig) -> Parameters:
    """The weights of a configuration, counted without making the model."""
    routed, shared = config.n_routed_experts or 0, config.n_shared_experts or 0
    expert = 3 * config.hidden_size * config.moe_intermediate_size
    router = routed * config.hidden_size if config.router == "topk" else 0
    sparse = sum(config.is_sparse(layer) for layer in range(config.num_hidden_layers))
    dense = config.num_hidden_layers - sparse
    rest = _outside_ffn(config) + dense * 3 * config.hidden_size * config.intermediate_size + sparse * router
    return Parameters(
        total=rest + sparse * (routed + shared) * expert,
        activated=rest + sparse * (config.num_experts_per_tok + shared) * expert,
        experts=sparse * (routed + shared) * expert,
    )


def _outside_ffn(config: DeepseekConfig) -> int:
    width, head_dim = config.hidden_size, config.head_dim or 0
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads or 0
    attention = 2 * width * head_dim * (heads + kv_heads)
    if config.attention_bias:
        attention += head_dim * (heads + 2 * kv_heads) + width
    embeddings = config.vocab_size * width * (1 if config.tie_word_embeddings else 2)
    return embeddings + config.num_hidden_layers * (attention + 2 * width) + width
