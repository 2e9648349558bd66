"""The configuration of model type `deepseek`, with the keys of the official 16B release.

Keys follow the released config.json; the few that this project adds say so. Values are checked here, because every way
to a model leads through its configuration.
"""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from tenfold.core.errors import ConfigError


@strict
class DeepseekConfig(PreTrainedConfig):
    """DeepSeekMoE as in arXiv 2401.06066; the defaults are the 16B model.

    Raises:
        ConfigError: more experts are chosen than there are, or widths do not fit each other.
    """

    model_type = "deepseek"
    keys_to_ignore_at_inference = ("past_key_values",)
    base_model_tp_plan: ClassVar[Any] = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.mlp.experts.gate_up_proj": "packed_colwise",
        "layers.*.mlp.experts.down_proj": "rowwise",
        "layers.*.mlp.experts": "moe_tp_experts",
        "layers.*.mlp.shared_experts.gate_proj": "colwise",
        "layers.*.mlp.shared_experts.up_proj": "colwise",
        "layers.*.mlp.shared_experts.down_proj": "rowwise",
        "layers.*.mlp.gate_proj": "colwise",
        "layers.*.mlp.up_proj": "colwise",
        "layers.*.mlp.down_proj": "rowwise",
    }
    base_model_ep_plan: ClassVar[Any] = {
        "layers.*.mlp.experts.gate_up_proj": "grouped_gemm",
        "layers.*.mlp.experts.down_proj": "grouped_gemm",
        "layers.*.mlp.experts": "ep_dispatch_experts",
    }

    vocab_size: int = 102400
    hidden_size: int = 2048
    intermediate_size: int = 10944
    moe_intermediate_size: int = 1408
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    n_routed_experts: int | None = 64
    n_shared_experts: int | None = 2
    num_experts_per_tok: int = 6
    first_k_dense_replace: int = 1
    moe_layer_freq: int = 1
    norm_topk_prob: bool = False
    routed_scaling_factor: float = 1.0
    scoring_func: str = "softmax"
    aux_loss_alpha: float = 0.001
    seq_aux: bool = True
    hidden_act: str = "silu"
    max_position_embeddings: int = 4096
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    tie_word_embeddings: bool = False
    rope_parameters: dict | None = None
    attention_bias: bool = False
    attention_dropout: float | int = 0.0
    pad_token_id: int | None = None
    bos_token_id: int | None = 100000
    eos_token_id: int | list[int] | None = 100001
    router: str = "topk"
    """Ours: `topk` of the scores, or `hash`: the token's id decides, with gate 1."""
    router_dtype: str = "float32"
    """Ours: dtype of the router's product; the released code uses the model's own."""
    balance_bias: bool = False
    """Ours: a bias per expert, for the choice alone, that training moves against the load."""

    def __post_init__(self, **kwargs: Any) -> None:
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        super().__post_init__(**kwargs)
        self._check()

    def is_sparse(self, layer: int) -> bool:
        """Whether this layer holds experts instead of one dense feed-forward network."""
        return bool(self.n_routed_experts) and layer >= self.first_k_dense_replace and layer % self.moe_layer_freq == 0

    def _check(self) -> None:
        if self.hidden_act != "silu" or self.scoring_func != "softmax":
            raise ConfigError(
                f"hidden_act is {self.hidden_act} and scoring_func {self.scoring_func}; deepseek has silu and softmax"
            )
        if self.router not in ("topk", "hash"):
            raise ConfigError(f"router is {self.router!r}; topk and hash are accepted")
        if self.router_dtype not in ("float32", "float64", "model"):
            raise ConfigError(f"router_dtype is {self.router_dtype!r}; float32, float64 and model are accepted")
        if self.n_routed_experts and not 1 <= self.num_experts_per_tok <= self.n_routed_experts:
            raise ConfigError(
                f"num_experts_per_tok is {self.num_experts_per_tok}, but there are {self.n_routed_experts} routed experts; "
                "lower num_experts_per_tok or raise n_routed_experts"
            )
