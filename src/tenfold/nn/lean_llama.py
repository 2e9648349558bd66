"""A lean forward pass for models of the Llama architecture, with little overhead between the matrix products.

The layers themselves are `lean_layers.py`; vocabulary rows are computed only where logits are asked for. The engine tries
which pass widths give the same bits (`width_trial.py`) and from then on uses only those: a token's logits do not depend on
how the text was split into passes, which makes speculative decoding equal to plain decoding to the last bit.
"""

# B rows of the batch, K tokens a row, N = B*K rows of a product, D model width, F half the head width, S slots,
# V vocabulary, T tokens of a prompt
import copy
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig

from tenfold.nn import kernel_choice, lean_weights, linear, width_trial, widths
from tenfold.nn.causal_lm import Exactness, check_positions, check_room
from tenfold.nn.compiled import CompiledLayers
from tenfold.nn.kv_cache import KVCache
from tenfold.nn.lean_layers import layers_of, rms_norm

FIXED_WIDTH = 8
"""The one width of an engine whose products are too coarse to be tried."""


class LeanLlama:
    """The engine: a `CausalLM` of `batch_size` rows, each with its own length."""

    def __init__(
        self,
        config: PretrainedConfig,
        state: lean_weights.State,
        *,
        batch_size: int = 1,
        kernel: linear.Kernel | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.kernel: linear.Kernel = kernel or kernel_choice.default_kernel(self.device)
        self.weights = lean_weights.load(config, state, kernel=self.kernel, device=self.device)
        self.layers = layers_of(self.weights)
        self.vocab_size: int = config.vocab_size
        self.max_positions: int = config.max_position_embeddings
        self.batch_size = batch_size
        self.cache = self._new_cache(batch_size)
        self.seeks_exactness = True
        self.hidden_rows: Sequence[Tensor] = [torch.empty(0)] * batch_size
        """Per row of the batch: the final hidden rows [K, D] of the last prefill or forward, which the head reads."""

    def with_weights(self, weights: lean_weights.Weights, *, kernel: linear.Kernel | None = None) -> "LeanLlama":
        """A one-row drafter over other weights of the same family (fewer layers, another kernel), with its own cache.

        Its passes are not padded to exact widths: a drafter's bits need not agree, only its target's.
        """
        other = copy.copy(self)
        for derived in ("exact_widths", "_widest"):
            other.__dict__.pop(derived, None)
        other.weights, other.kernel = weights, kernel or self.kernel
        other.layers = layers_of(weights)
        other.batch_size, other.seeks_exactness, other.hidden_rows = 1, False, [torch.empty(0)]
        other.cache = other._new_cache(1)
        return other

    @property
    def lengths(self) -> Sequence[int]:
        return self.cache.lengths

    @property
    def exactness(self) -> Exactness:
        return "bit" if self.seeks_exactness and widths.fit(self.exact_widths, 1, self.batch_size) else "token"

    @property
    def exact_trees(self) -> bool:
        """Whether the promise of `exactness` holds for trees too: the compiled layers sum by what a token sees alone."""
        return self.exactness == "bit" and isinstance(self.layers, CompiledLayers)

    def reset(self) -> None:
        self.cache.reset()

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Runs each row's prompt, of any length, in wide passes; returns the last logits [B, V].

        Raises:
            ValueError: a prompt is empty, or there is no room for it.
        """
        if not all(prompts):
            raise ValueError("a prompt is empty; give at least one token, for example the model's BOS token")
        if len(prompts) != self.batch_size:
            raise ValueError(f"got {len(prompts)} prompts for {self.batch_size} rows; give one prompt per row")
        longest = max(map(len, prompts))
        check_room(self, longest)
        self.cache.reserve(max(self.cache.lengths) + longest + self._widest)
        self.hidden_rows = [self._prefill_row(row, prompt) for row, prompt in enumerate(prompts)]
        return torch.stack([self._last_logits(hidden_TD) for hidden_TD in self.hidden_rows])

    @torch.inference_mode()
    def prefill_row(self, row: int, prompt: Sequence[int]) -> Tensor:
        """Appends a prompt to one row, computed as in an engine of one row; returns the last logits [V].

        Raises:
            ValueError: the prompt is empty, or there is no room for it.
        """
        if not prompt:
            raise ValueError("the prompt is empty; give at least one token, for example the model's BOS token")
        check_positions(self, self.cache.lengths[row], len(prompt))
        self.cache.reserve(self.cache.lengths[row] + len(prompt) + self._widest)
        hidden_TD = self._prefill_row(row, prompt)
        self.hidden_rows = [*self.hidden_rows[:row], hidden_TD, *self.hidden_rows[row + 1 :]]
        return self._last_logits(hidden_TD)

    @torch.inference_mode()
    def forward(self, ids_BK: Tensor, *, depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None) -> Tensor:
        num_new = ids_BK.shape[1]
        check_room(self, num_new)
        if depths_K is None and ancestors_KK is None:
            hidden_BKD, logits_BKV = self._chain(ids_BK)
        else:
            hidden_BKD, logits_BKV = self._pass(ids_BK, depths_K, ancestors_KK)
        self.hidden_rows = hidden_BKD.unbind(0)
        return logits_BKV

    @torch.inference_mode()
    def forward_ragged(self, ids_BK: Tensor, counts: Sequence[int]) -> Tensor:
        for length, count in zip(self.cache.lengths, counts, strict=True):
            check_positions(self, length, count)
        hidden_BKD, logits_BKV = self._chain(ids_BK, counts)
        self.hidden_rows = hidden_BKD.unbind(0)
        return logits_BKV

    def rollback(self, counts: Sequence[int]) -> None:
        self.cache.rollback(counts)

    @torch.inference_mode()
    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        self.cache.keep(row, start, slots)

    @cached_property
    def exact_widths(self) -> frozenset[int]:
        """Numbers of rows per pass that give the same bits on this machine; tried once, on the first layer and the head.

        Where exactness is not sought, every width that is worth running. Where weights of 16 bits are multiplied as they
        are, the products are rounded so coarsely that a trial could miss a difference: then one fixed width.
        """
        if not self.seeks_exactness:
            return frozenset(width_trial.WIDTHS)
        if self.weights.rounds_products:
            return frozenset({FIXED_WIDTH, FIXED_WIDTH * self.batch_size})
        return width_trial.exact_widths(
            self.layers,
            lambda x_ND: self.weights.head(self._final_norm(x_ND)),
            lambda: self._new_cache(1, num_layers=1),
            self.weights.rotation_SF,
            model_width=self.weights.embedding_VD.shape[1],
        )

    @cached_property
    def _widest(self) -> int:
        """Rows of a prefill pass: the most that are exact, or the most tried if hardly any are.

        Whoever decodes, a prompt is cut into the same passes.
        """
        widest = max(self.exact_widths, default=0)
        return widest if widest > FIXED_WIDTH * self.batch_size else max(width_trial.WIDTHS)

    def padded_width(self, num_tokens: int) -> int:
        """The number of tokens a row that a pass for `num_tokens` is padded to."""
        return widths.fit(self.exact_widths, num_tokens, self.batch_size) or num_tokens

    def _chain(self, ids_BK: Tensor, counts: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Tokens that follow one another, in as many passes as exact widths need; `counts` as in `forward_ragged`."""
        num_new = ids_BK.shape[1]
        counts = [num_new] * len(ids_BK) if counts is None else counts
        most = widths.most(self.exact_widths, self.batch_size) or num_new
        pieces = [
            self._pass(ids_BK[:, start : start + most], counts=[min(max(count - start, 0), most) for count in counts])
            for start in range(0, num_new, most)
        ]
        hidden, logits = zip(*pieces, strict=True)
        return (hidden[0], logits[0]) if len(pieces) == 1 else (torch.cat(hidden, dim=1), torch.cat(logits, dim=1))

    def _pass(
        self,
        ids_BK: Tensor,
        depths_K: Tensor | None = None,
        ancestors_KK: Tensor | None = None,
        *,
        counts: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One pass: final hidden rows [B, K, D] and logits [B, K, V]."""
        num_new = ids_BK.shape[1]
        hidden_BKD = self._hidden(self.cache, ids_BK, depths_K, ancestors_KK, counts=counts)
        logits_BKV = self.weights.head(hidden_BKD.flatten(0, 1)).unflatten(0, hidden_BKD.shape[:2])
        return hidden_BKD[:, :num_new], logits_BKV[:, :num_new]

    def _prefill_row(self, row: int, prompt: Sequence[int]) -> Tensor:
        """Appends a prompt to one row; returns its final hidden rows [T, D]."""
        cache = self.cache.row(row)
        step = self._widest
        pieces = [prompt[start : start + step] for start in range(0, len(prompt), step)]
        hidden = [self._hidden(cache, torch.tensor([piece], device=self.device))[0, : len(piece)] for piece in pieces]
        self.cache.lengths[row] = cache.lengths[0]
        return torch.cat(hidden)

    def _last_logits(self, hidden_TD: Tensor) -> Tensor:
        """The logits [V] after the last of the rows, computed at the width that decoding uses."""
        return self.weights.head(hidden_TD[-1].repeat(widths.fit(self.exact_widths, 1) or 1, 1))[0]

    def _hidden(
        self,
        cache: KVCache,
        ids_BK: Tensor,
        depths_K: Tensor | None = None,
        ancestors_KK: Tensor | None = None,
        *,
        counts: Sequence[int] | None = None,
    ) -> Tensor:
        """Appends the tokens (`counts[b]` of them in row b) to `cache`; returns the final hidden rows [B, padded K, D]."""
        batch_size, num_new = ids_BK.shape
        width = widths.fit(self.exact_widths, num_new, batch_size) or num_new
        cache.reserve(max(cache.lengths) + width)
        x_ND = self.weights.embedding_VD[_pad_ids(ids_BK, width).flatten()].float()
        depths_K = torch.arange(width) if depths_K is None else functional.pad(depths_K, (0, width - num_new))
        rotation_BKF = self._rotation(cache.lengths, depths_K)
        ancestors_KK = _pad_ancestors(ancestors_KK, width)
        self.layers(x_ND, cache, rotation_BKF, ancestors_KK, first=0, end=self.weights.shape.num_layers)
        cache.advance(num_new if counts is None else counts)
        return self._final_norm(x_ND).unflatten(0, (batch_size, width))

    def _rotation(self, lengths: Sequence[int], depths_K: Tensor) -> Tensor:
        """What each token [B, K, F] is turned by; padding beyond the last position is turned like the last."""
        position_BK = torch.tensor(lengths)[:, None] + depths_K.cpu()
        table_SF = self.weights.rotation_SF
        return table_SF[position_BK.clamp_(max=table_SF.shape[0] - 1).to(self.device)]

    def _final_norm(self, x_ND: Tensor) -> Tensor:
        return rms_norm(x_ND, self.weights.final_norm_D, self.weights.shape.eps)

    def _new_cache(self, batch_size: int, num_layers: int | None = None) -> KVCache:
        shape = self.weights.shape
        layers = shape.num_layers if num_layers is None else num_layers
        return KVCache(layers, batch_size, shape.num_kv_heads, shape.head_width, device=self.device)


def _pad_ids(ids_BK: Tensor, width: int) -> Tensor:
    return functional.pad(ids_BK, (0, width - ids_BK.shape[1]))


def _pad_ancestors(ancestors_KK: Tensor | None, width: int) -> Tensor | None:
    if ancestors_KK is None:
        return None
    padded = torch.eye(width, dtype=torch.bool)
    padded[: len(ancestors_KK), : len(ancestors_KK)] = ancestors_KK
    return padded
