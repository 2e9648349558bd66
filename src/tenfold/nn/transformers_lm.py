"""Any Transformers causal LM as a `CausalLM`: slower than `LeanLlama`, but it takes every architecture.

Uses the model's own forward pass and `DynamicCache`; a cache that cannot be cropped (recurrent state, sliding
windows) is refused.
"""

# B = 1 row, K new tokens, V vocabulary, S slots
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from tenfold.core.errors import UserError
from tenfold.nn.causal_lm import Exactness, check_room
from tenfold.nn.masks import pass_mask

FULL_ATTENTION = "full_attention"


class TransformersLM:
    """One row; `exactness` is `token`, because the model's kernels choose their own order of summation."""

    batch_size = 1
    exactness: Exactness = "token"

    def __init__(self, model: PreTrainedModel) -> None:
        if forgetting := _forgetting_layers(model):
            raise UserError(
                f"{model.config.model_type} keeps a state that cannot be rolled back ({', '.join(forgetting)}); "
                "use a model with full attention in every layer"
            )
        self.model = model.eval()
        self.vocab_size: int = model.config.vocab_size
        self.max_positions: int = getattr(model.config, "max_position_embeddings", 2**31)
        self.cache: Any = DynamicCache(config=model.config)

    @property
    def lengths(self) -> Sequence[int]:
        return [self.cache.get_seq_length()]

    def reset(self) -> None:
        self.cache = DynamicCache(config=self.model.config)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        if len(prompts) != 1:
            raise ValueError(f"got {len(prompts)} prompts, but this engine has 1 row; give one prompt")
        if not all(prompts):
            raise ValueError("a prompt is empty; give at least one token, for example the model's BOS token")
        check_room(self, len(prompts[0]))
        ids_1T = torch.tensor([list(prompts[0])], device=self.model.device)
        return self.model(ids_1T, past_key_values=self.cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()

    @torch.inference_mode()
    def forward(self, ids_BK: Tensor, *, depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None) -> Tensor:
        num_new = ids_BK.shape[1]
        check_room(self, num_new)
        start = self.lengths[0]
        device = self.model.device
        mask_BKS = pass_mask([start], num_new, first=0, end=start + num_new, ancestors_KK=ancestors_KK, device=device)
        positions_K = start + (torch.arange(num_new) if depths_K is None else depths_K)
        output = self.model(
            ids_BK.to(device),
            attention_mask=mask_BKS[:, None].to(self.model.dtype),
            position_ids=positions_K[None].to(device),
            past_key_values=self.cache,
            use_cache=True,
        )
        return output.logits.float()

    def rollback(self, counts: Sequence[int]) -> None:
        (length,) = self.lengths
        if not 0 <= counts[0] <= length:
            raise ValueError(f"cannot roll back {counts[0]} tokens of {length}; give a number from 0 to {length}")
        if counts[0]:
            self.cache.crop(-counts[0])

    @torch.inference_mode()
    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        chosen = torch.tensor([*range(start), *slots], dtype=torch.long, device=self.model.device)
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys.index_select(2, chosen), layer.values.index_select(2, chosen)


def _forgetting_layers(model: PreTrainedModel) -> list[str]:
    """The kinds of layers whose state cannot be cropped; none where every layer keeps all keys and values."""
    kinds: set[str] = set(getattr(model.config, "layer_types", None) or [])
    kinds.discard(FULL_ATTENTION)
    if getattr(model.config, "sliding_window", None):
        kinds.add("sliding_attention")
    if getattr(model, "_is_stateful", False):
        kinds.add("recurrent state")
    return sorted(kinds)
