"""A lean forward pass for models of the Llama architecture, with little overhead between the matrix products.

The layers themselves are `lean_layers.py`; vocabulary rows are computed only where logits are asked for. The engine tries
which pass widths give the same bits (`width_trial.py`) and from then on uses only those: a token's logits do not depend on
how the text was split into passes, which makes speculative decoding equal to plain decoding to the last bit.
"""

# B rows of the batch, K tokens of one row, N tokens of a pass, D model width, F half the head width, S slots,
# V vocabulary, T tokens of a prompt
import copy
from collections.abc import Mapping, Sequence
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
from tenfold.nn.pass_rows import PassRows

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
        """Per row of the batch: the final hidden rows [K, D] of its last prefill or forward, which the head reads."""

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

    def twin(self) -> "LeanLlama":
        """The same engine with an empty cache of its own: for texts that take turns; not for two threads at once."""
        other = copy.copy(self)
        other.cache = self._new_cache(self.batch_size)
        other.hidden_rows = [torch.empty(0)] * self.batch_size
        return other

    def with_rows(self, batch_size: int) -> "LeanLlama":
        """An engine of so many rows over the same weights, with its own empty cache."""
        other = copy.copy(self)
        for derived in ("exact_widths", "_widest"):
            other.__dict__.pop(derived, None)
        other.batch_size, other.hidden_rows = batch_size, [torch.empty(0)] * batch_size
        other.cache = other._new_cache(batch_size)
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
        check_room(self, ids_BK.shape[1])
        tokens = dict(enumerate(ids_BK))
        if depths_K is None and ancestors_KK is None:
            logits = self._chains(tokens)
        else:
            logits = self._pass(tokens, depths_K, ancestors_KK)
        return logits[0][None] if self.batch_size == 1 else torch.stack(list(logits.values()))

    @torch.inference_mode()
    def forward_ragged(self, tokens: Mapping[int, Sequence[int]]) -> dict[int, Tensor]:
        for row, ids in tokens.items():
            check_positions(self, self.cache.lengths[row], len(ids))
        return self._chains({row: torch.tensor(ids) for row, ids in sorted(tokens.items())})

    @torch.inference_mode()
    def forward_masked(
        self, ids_BK: Tensor, counts: Sequence[int], positions_BK: Tensor, visible_BKS: Tensor, wanted_BK: Tensor
    ) -> Tensor:
        """As in `masked_lm`; the width of the pass is not padded, so the promise of `exactness` does not hold here."""
        rows = [row for row, count in enumerate(counts) if count]
        if not rows:
            return torch.empty(0, self.vocab_size)
        width, own = ids_BK.shape[1], [counts[row] for row in rows]
        places = PassRows(rows, own, own if self.layers.takes_any_counts else [width] * len(rows))

        def joined(columns_BK: Tensor) -> Tensor:
            parts = [columns_BK[row, :count] for row, count in zip(rows, places.padded, strict=True)]
            return torch.cat(parts).to(self.device)

        self.cache.reserve(max(self.cache.lengths) + width)
        x_ND = self.weights.embedding_VD[joined(ids_BK)].float()
        rotation_NF, last = self.weights.rotation_SF[joined(positions_BK)], self.weights.shape.num_layers
        self.layers(x_ND, self.cache, places, rotation_NF, None, first=0, end=last, visible_NS=joined(visible_BKS))
        self.cache.advance(rows, own)
        hidden_ND = self._final_norm(x_ND)[joined(wanted_BK)]
        return self.weights.head(hidden_ND) if len(hidden_ND) else hidden_ND.new_empty(0, self.vocab_size)

    def rollback(self, counts: Sequence[int]) -> None:
        self.cache.rollback(counts)

    @torch.inference_mode()
    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        self.cache.keep(row, start, slots)

    @torch.inference_mode()
    def turn_back(self, row: int, start: int, steps: Sequence[int]) -> None:
        """Moves the keys in `row`'s slots from `start` on to earlier positions, by so many each; values have none."""
        heads = slice(row * self.cache.num_heads, (row + 1) * self.cache.num_heads)
        keys = self.cache.buffer[:, 0, heads, start : start + len(steps)]
        turn_SF = self.weights.rotation_SF[torch.tensor(steps, device=self.device)]
        turn_SF = turn_SF.conj() / turn_SF.abs().square()
        keys.copy_(torch.view_as_real(torch.view_as_complex(keys.contiguous().unflatten(-1, (-1, 2))) * turn_SF).flatten(-2))

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

    def _chains(self, tokens: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Tokens [K] that follow one another, by row, in as many passes as exact widths need; logits [K, V] of each."""
        most, longest = self._most_tokens([len(ids_K) for ids_K in tokens.values()]), max(map(len, tokens.values()))
        if longest <= most:
            return self._pass(tokens)
        logits: dict[int, list[Tensor]] = {row: [] for row in tokens}
        hidden: dict[int, list[Tensor]] = {row: [] for row in tokens}
        for start in range(0, longest, most):
            piece = {row: ids_K[start : start + most] for row, ids_K in tokens.items() if len(ids_K) > start}
            for row, logits_KV in self._pass(piece).items():
                logits[row].append(logits_KV)
                hidden[row].append(self.hidden_rows[row])
        self.hidden_rows = [torch.cat(hidden[row]) if row in hidden else old for row, old in enumerate(self.hidden_rows)]
        return {row: torch.cat(parts) for row, parts in logits.items()}

    def _most_tokens(self, counts: Sequence[int]) -> int:
        """How many tokens each row may have at most in one pass, if the rows have as many as `counts`."""
        if not self.layers.takes_any_counts:
            return widths.most(self.exact_widths, self.batch_size) or max(counts)
        widest = max(self.exact_widths, default=0)
        return max(counts) if sum(counts) <= widest or widest < len(counts) else widest // len(counts)

    def _pass(
        self, tokens: Mapping[int, Tensor], depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None
    ) -> dict[int, Tensor]:
        """One pass: leaves the final hidden rows, and returns the logits [K, V] of each row that takes part."""
        places, hidden_ND = self._hidden(tokens, depths_K, ancestors_KK)
        logits_NV = self.weights.head(hidden_ND)
        own = {
            row: slice(start, start + count)
            for row, start, count in zip(places.rows, places.starts, places.counts, strict=False)
            if count
        }
        self.hidden_rows = [hidden_ND[own[row]] if row in own else old for row, old in enumerate(self.hidden_rows)]
        return {row: logits_NV[place] for row, place in own.items()}

    def _prefill_row(self, row: int, prompt: Sequence[int]) -> Tensor:
        """Appends a prompt to one row; returns its final hidden rows [T, D]."""
        step = self._widest
        pieces = [prompt[start : start + step] for start in range(0, len(prompt), step)]
        return torch.cat([self._hidden({row: torch.tensor(piece)})[1][: len(piece)] for piece in pieces])

    def _last_logits(self, hidden_TD: Tensor) -> Tensor:
        """The logits [V] after the last of the rows, computed at the width that decoding uses."""
        return self.weights.head(hidden_TD[-1].repeat(widths.fit(self.exact_widths, 1) or 1, 1))[0]

    def _hidden(
        self, tokens: Mapping[int, Tensor], depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None
    ) -> tuple[PassRows, Tensor]:
        """Appends tokens [K] to rows of the cache; returns their places, and the final hidden rows [N, D] with padding.

        With `ancestors_KK` all rows have K tokens.
        """
        places = self._places(tokens, may_differ=ancestors_KK is None)
        self.cache.reserve(max(map(int.__add__, self._lengths(places), places.padded)))
        x_ND = self.weights.embedding_VD[_joined(tokens, places).to(self.device)].float()
        rotation_NF = self._rotation(places, depths_K)
        ancestors_KK = _pad_ancestors(ancestors_KK, places.width)
        self.layers(x_ND, self.cache, places, rotation_NF, ancestors_KK, first=0, end=self.weights.shape.num_layers)
        self.cache.advance(places.rows, places.counts)
        return places, self._final_norm(x_ND)

    def _places(self, tokens: Mapping[int, Tensor], *, may_differ: bool) -> PassRows:
        """The rows of a pass and how far each is padded, so that the width is exact.

        Where rows must have equally many tokens and no such width is exact for those that take part, others join them,
        with padding alone.
        """
        rows, counts = list(tokens), [len(ids_K) for ids_K in tokens.values()]
        if self.layers.takes_any_counts and may_differ:
            padding = (widths.fit(self.exact_widths, sum(counts)) or sum(counts)) - sum(counts)
            return PassRows(rows, counts, [*counts[:-1], counts[-1] + padding])
        if self.weights.rounds_products and len(rows) > 1:  # one width for all that decode, whoever they are
            rows = list(range(self.batch_size))
        idle = [row for row in range(self.batch_size) if row not in rows]
        for num_idle in range(len(idle) + 1):
            if width := widths.fit(self.exact_widths, max(counts), len(rows) + num_idle):
                taking = sorted([*rows, *idle[:num_idle]])
                return PassRows(taking, [len(tokens.get(row, ())) for row in taking], [width] * len(taking))
        return PassRows(rows, [len(tokens.get(row, ())) for row in rows], [max(counts)] * len(rows))

    def _lengths(self, places: PassRows) -> list[int]:
        return [self.cache.lengths[row] for row in places.rows]

    def _rotation(self, places: PassRows, depths_K: Tensor | None) -> Tensor:
        """What each token [N, F] is turned by; padding beyond the last position is turned like the last."""
        depth_K = torch.arange(places.width)
        if depths_K is not None:
            depth_K = functional.pad(depths_K.cpu(), (0, places.width - len(depths_K)))
        position_N = torch.cat(
            [length + depth_K[:count] for length, count in zip(self._lengths(places), places.padded, strict=True)]
        )
        table_SF = self.weights.rotation_SF
        return table_SF[position_N.clamp_(max=table_SF.shape[0] - 1).to(self.device)]

    def _final_norm(self, x_ND: Tensor) -> Tensor:
        return rms_norm(x_ND, self.weights.final_norm_D, self.weights.shape.eps)

    def _new_cache(self, batch_size: int, num_layers: int | None = None) -> KVCache:
        shape = self.weights.shape
        layers = shape.num_layers if num_layers is None else num_layers
        return KVCache(layers, batch_size, shape.num_kv_heads, shape.head_width, device=self.device)


def _joined(tokens: Mapping[int, Tensor], places: PassRows) -> Tensor:
    """The token ids [N] of a pass; 0 where it is padded."""
    nothing_K = torch.zeros(0, dtype=torch.long)
    own = [tokens.get(row, nothing_K).cpu() for row in places.rows]
    return torch.cat(
        [functional.pad(ids_K, (0, width - len(ids_K))) for ids_K, width in zip(own, places.padded, strict=True)]
    )


def _pad_ancestors(ancestors_KK: Tensor | None, width: int) -> Tensor | None:
    if ancestors_KK is None:
        return None
    padded = torch.eye(width, dtype=torch.bool)
    padded[: len(ancestors_KK), : len(ancestors_KK)] = ancestors_KK
    return padded
