"""A lean forward pass for models of the Llama architecture, with little overhead between the matrix products.

Fused products, the rotary embedding as one complex product, keys and values written in place, attention over the
live part of the cache without repeating shared heads, vocabulary rows only where logits are asked for.

Activations and sums are float32, but for products of 16-bit weights that cannot be packed. The engine tries which
pass widths give the same bits (`widths`) and from then on uses only those: a token's logits do not depend on how the text
was split into passes, which makes speculative decoding equal to plain decoding to the last bit.
"""

# B rows of the batch, K tokens a row, N = B*K rows of a product, D model width, H heads (queries, then keys, then
# values), Q = K * query heads per key-value head, F half the head width, S slots, V vocabulary,
# T tokens of a prompt
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig

from tenfold.nn import lean_weights, linear, widths
from tenfold.nn.causal_lm import Exactness, check_positions, check_room
from tenfold.nn.kv_cache import BLOCK, KVCache, whole_blocks
from tenfold.nn.masks import pass_mask

WIDTHS = (*range(1, 17), 18, 20, 24, 30, 48, 60)
"""Pass widths that are tried; the widest serves prefill."""

FIXED_WIDTH = 8
"""The one width of an engine whose products are too coarse to be tried."""


@dataclass(frozen=True)
class Frame:
    """What all layers of one pass share."""

    batch_size: int
    width: int
    first: int
    """The first slot that the mask covers; all before it are visible to every row."""
    mask_B1QS: Tensor
    rotation_BHKF: Tensor
    """Complex, for query and key heads; the queries' part carries the attention scale."""
    keys: Sequence[Tensor]
    values: Sequence[Tensor]
    slots: Sequence[Sequence[Tensor]]


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
        self.kernel: linear.Kernel = kernel or linear.default_kernel(self.device)
        self.weights = lean_weights.load(config, state, kernel=self.kernel, device=self.device)
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
        other.batch_size, other.seeks_exactness, other.hidden_rows = 1, False, [torch.empty(0)]
        other.cache = other._new_cache(1)
        return other

    @property
    def lengths(self) -> Sequence[int]:
        return self.cache.lengths

    @property
    def exactness(self) -> Exactness:
        return "bit" if self.seeks_exactness and widths.fit(self.exact_widths, 1, self.batch_size) else "token"

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
            return frozenset(WIDTHS)
        if self.weights.rounds_products:
            return frozenset({FIXED_WIDTH, FIXED_WIDTH * self.batch_size})
        return self._probe_head(self._probe_layer())

    @cached_property
    def _widest(self) -> int:
        """Rows of a prefill pass: the most that are exact, or the most tried if hardly any are.

        Whoever decodes, a prompt is cut into the same passes.
        """
        widest = max(self.exact_widths, default=0)
        return widest if widest > FIXED_WIDTH * self.batch_size else max(WIDTHS)

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
        frame = self._frame(cache, width, _pad_depths(depths_K, width), _pad_ancestors(ancestors_KK, width))
        x_ND = self.weights.embedding_VD[_pad_ids(ids_BK, width).flatten()].float()
        for index, layer in enumerate(self.weights.layers):
            x_ND = self._layer(layer, index, x_ND, frame)
        cache.advance(num_new if counts is None else counts)
        return self._norm(x_ND, self.weights.final_norm_D).unflatten(0, (batch_size, width))

    def _frame(self, cache: KVCache, width: int, depths_K: Tensor | None, ancestors_KK: Tensor | None) -> Frame:
        """Reserves the slots of a pass and prepares what its layers share."""
        shape = self.weights.shape
        cache.reserve(max(cache.lengths) + width)
        first, end = min(cache.lengths), whole_blocks(max(cache.lengths) + width)
        mask_BKS = pass_mask(cache.lengths, width, first=first, end=end, ancestors_KK=ancestors_KK, device=self.device)
        keys, values = cache.live(end)
        return Frame(
            batch_size=cache.batch_size,
            width=width,
            first=first,
            mask_B1QS=mask_BKS.repeat(1, shape.group, 1)[:, None],
            rotation_BHKF=self._rotation(cache.lengths, torch.arange(width) if depths_K is None else depths_K),
            keys=keys,
            values=values,
            slots=cache.slots_for(width),
        )

    def _rotation(self, lengths: Sequence[int], depths_K: Tensor) -> Tensor:
        position_BK = torch.tensor(lengths)[:, None] + depths_K.cpu()
        table_SF = self.weights.rotation_SF
        turn_B1KF = table_SF[position_BK.clamp_(max=table_SF.shape[0] - 1).to(self.device)][:, None]
        return torch.cat([turn_B1KF * scale for scale in self._head_scales], dim=1)

    @cached_property
    def _head_scales(self) -> list[float]:
        shape = self.weights.shape
        return [shape.head_width**-0.5] * shape.num_heads + [1.0] * shape.num_kv_heads

    def _layer(self, layer: lean_weights.Layer, index: int, x_ND: Tensor, frame: Frame) -> Tensor:
        """One decoder layer: writes the new keys and values into their slots, adds to `x_ND` in place."""
        shape = self.weights.shape
        qkv_ND = layer.qkv(self._norm(x_ND, layer.attention_norm_D))
        heads_BHKD = qkv_ND.view(frame.batch_size, frame.width, -1, shape.head_width).transpose(1, 2)
        torch.view_as_complex(heads_BHKD[:, : shape.num_rotated].unflatten(-1, (-1, 2))).mul_(frame.rotation_BHKF)
        for row, slots in enumerate(frame.slots):
            slots[index].copy_(heads_BHKD[row, shape.num_heads :].unflatten(0, (2, -1)))
        x_ND += layer.output(self._attend(heads_BHKD[:, : shape.num_heads], index, frame))
        gate_NF, up_NF = layer.gate_up(self._norm(x_ND, layer.mlp_norm_D)).chunk(2, dim=-1)
        x_ND += layer.down(functional.silu(gate_NF).mul_(up_NF))
        return x_ND

    def _attend(self, queries_BHKD: Tensor, index: int, frame: Frame) -> Tensor:
        """The query heads that share a key-value head attend as one product; returns [N, query heads * head width]."""
        shape = self.weights.shape
        grouped = queries_BHKD.reshape(frame.batch_size * shape.num_kv_heads, shape.group * frame.width, -1)
        scores = torch.bmm(grouped, frame.keys[index])
        scores.unflatten(0, (frame.batch_size, -1))[..., frame.first :] += frame.mask_B1QS
        mixed = _mix(scores.softmax(-1), frame.values[index])
        heads_BHKD = mixed.view(frame.batch_size, shape.num_heads, frame.width, -1)
        return heads_BHKD.transpose(1, 2).reshape(frame.batch_size * frame.width, -1)

    def _norm(self, x_ND: Tensor, weight_D: Tensor) -> Tensor:
        """RMSNorm; composed from few operations because torch's own is slow on a CPU for a few rows."""
        mean_square_N1 = torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True).square_().div_(x_ND.shape[-1])
        return (x_ND * weight_D).mul_(mean_square_N1.add_(self.weights.shape.eps).rsqrt_())

    @torch.inference_mode()
    def _probe_layer(self) -> frozenset[int]:
        """The widths at which the first layer agrees, after an empty cache, a short one and one of two blocks."""
        agreed = frozenset(WIDTHS)
        for prefix in (0, 5, 200):
            if prefix + max(agreed) <= self.max_positions:
                agreed &= widths.exact_class(
                    lambda prefix=prefix: self._first_layer(prefix), self._probe_rows(seed=0), agreed
                )
        return agreed

    @torch.inference_mode()
    def _probe_head(self, agreed: frozenset[int]) -> frozenset[int]:
        return widths.exact_class(lambda: lambda x_ND, _: self.weights.head(x_ND), self._probe_rows(seed=1), agreed)

    def _first_layer(self, prefix: int) -> widths.Pass:
        """Layer 0 over a random cache of `prefix` tokens to which each pass adds its real rows."""
        cache = self._random_cache(prefix)

        def run(x_ND: Tensor, num_real: int) -> Tensor:
            frame = self._frame(cache, len(x_ND), None, None)
            y_ND = self._layer(self.weights.layers[0], 0, x_ND.clone(), frame)
            cache.advance(num_real)
            return y_ND

        return run

    def _probe_rows(self, *, seed: int) -> Tensor:
        """As many rows as the widest pass has places."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(max(WIDTHS), self.weights.embedding_VD.shape[1], generator=generator).to(self.device)

    def _random_cache(self, num_tokens: int) -> KVCache:
        cache = self._new_cache(1, num_layers=1)
        cache.reserve(num_tokens)
        cache.buffer.copy_(torch.randn(cache.buffer.shape, generator=torch.Generator().manual_seed(2)))
        cache.lengths = [num_tokens]
        return cache

    def _new_cache(self, batch_size: int, num_layers: int | None = None) -> KVCache:
        shape = self.weights.shape
        layers = shape.num_layers if num_layers is None else num_layers
        return KVCache(layers, batch_size, shape.num_kv_heads, shape.head_width, device=self.device)


def _mix(weights_MS: Tensor, values_SD: Tensor) -> Tensor:
    """The weighted sum of the values, block by block (a batch of each): a product over all slots at once may split them
    differently when it covers more, so that empty slots at the end would change the bits.
    """
    pairs = zip(weights_MS.split(BLOCK, dim=-1), values_SD.split(BLOCK, dim=-2), strict=True)
    mixed_MD = torch.bmm(*next(pairs))
    for block_MS, block_SD in pairs:
        mixed_MD.baddbmm_(block_MS, block_SD)
    return mixed_MD


def _pad_ids(ids_BK: Tensor, width: int) -> Tensor:
    return functional.pad(ids_BK, (0, width - ids_BK.shape[1]))


def _pad_depths(depths_K: Tensor | None, width: int) -> Tensor | None:
    return None if depths_K is None else functional.pad(depths_K, (0, width - len(depths_K)))


def _pad_ancestors(ancestors_KK: Tensor | None, width: int) -> Tensor | None:
    if ancestors_KK is None:
        return None
    padded = torch.eye(width, dtype=torch.bool)
    padded[: len(ancestors_KK), : len(ancestors_KK)] = ancestors_KK
    return padded
