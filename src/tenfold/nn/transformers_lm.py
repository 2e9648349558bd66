"""Any Transformers causal LM as a `CausalLM`: slower than `LeanLlama`, but it takes every architecture.

Uses the model's own forward pass and `DynamicCache`. Layers that attend are cropped. A model with recurrent layers goes
back to the copy of its state from before the last pass; what of that pass is kept is fed again at the beginning of the next
one. Whether such a model continues a text by several tokens rightly is tried once: where it does not (Transformers'
Mamba does not), it gets its tokens one by one, which is right, but leaves speculation nothing to gain.
"""

# B = 1 row, K new tokens, V vocabulary, S slots
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tenfold.core.errors import UserError
from tenfold.nn.causal_lm import Exactness, check_room
from tenfold.nn.masks import pass_mask
from tenfold.nn.recurrent_state import States, is_recurrent, is_windowed, new_cache, unknown_layers, wipe

MOST_PENDING = 8
"""Tokens to be fed again may wait for the next pass up to this number; beyond it they get a pass of their own."""

TRIAL = (5, 3, 1)
"""The pieces in which a trial text is fed to a recurrent model."""
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
COARSE_TOLERANCE = 0.05


class TransformersLM:
    """One row; `exactness` is `token`, because the model's kernels choose their own order of summation."""

    batch_size = 1
    exactness: Exactness = "token"

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        if unknown := unknown_layers(config):
            raise _refusal(config.model_type, ", ".join(unknown))
        self.model = model.eval()
        self.vocab_size: int = config.get_text_config().vocab_size
        self.max_positions: int = getattr(config.get_text_config(), "max_position_embeddings", None) or 2**31
        self.is_recurrent = is_recurrent(config) or bool(getattr(model, "_is_stateful", False))
        self.takes_trees = not self.is_recurrent and not is_windowed(config)
        """Whether a pass may hold a tree; otherwise only tokens that follow one another."""
        self.accepted = inspect.signature(model.forward).parameters
        self.feeds_one_by_one = False
        """Whether the model cannot continue a text by several tokens in one pass."""
        self.reset()
        if self.is_recurrent:
            self._try()

    @property
    def lengths(self) -> Sequence[int]:
        return [len(self.tokens)]

    def reset(self) -> None:
        self.cache: Any = new_cache(self.model.config)
        self.tokens: list[int] = []
        """All tokens of the text."""
        self.pending = 0
        """How many of the last tokens the cache has to be fed again."""
        self.before: tuple[States, int] | None = None
        """The recurrent states before the last pass, and how many tokens it fed."""

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        if len(prompts) != 1:
            raise ValueError(f"got {len(prompts)} prompts, but this engine has 1 row; give one prompt")
        if not all(prompts):
            raise ValueError("a prompt is empty; give at least one token, for example the model's BOS token")
        check_room(self, len(prompts[0]))
        return self._append(prompts[0], num_logits=1)[:, -1]

    @torch.inference_mode()
    def forward(self, ids_BK: Tensor, *, depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None) -> Tensor:
        num_new = ids_BK.shape[1]
        check_room(self, num_new)
        if ancestors_KK is not None and not self.takes_trees:
            raise UserError(f"{self.model.config.model_type} takes no token trees here; draft chains (shape=chain)")
        if not self.takes_trees:
            return self._append(ids_BK[0].tolist(), num_logits=num_new)
        start = len(self.tokens)
        device = self.model.device
        mask_BKS = pass_mask([start], num_new, first=0, end=start + num_new, ancestors_KK=ancestors_KK, device=device)
        positions_K = start + (torch.arange(num_new) if depths_K is None else depths_K)
        self.tokens += ids_BK[0].tolist()
        output = self.model(
            ids_BK.to(device),
            attention_mask=mask_BKS[:, None].to(self.model.dtype),
            position_ids=positions_K[None].to(device),
            past_key_values=self.cache,
            use_cache=True,
        )
        return output.logits.float()

    def rollback(self, counts: Sequence[int]) -> None:
        (length,), (count,) = self.lengths, counts
        if not 0 <= count <= length:
            raise ValueError(f"cannot roll back {count} tokens of {length}; give a number from 0 to {length}")
        if count == 0:
            return
        self.tokens = self.tokens[: length - count]
        if self.is_recurrent:
            self._restore(count)
        else:
            self.cache.crop(-count)

    @torch.inference_mode()
    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        end = start + len(slots)
        if list(slots) == list(range(start, end)):
            self.rollback([len(self.tokens) - end])
            return
        if not self.takes_trees:
            raise UserError(f"{self.model.config.model_type} keeps only tokens that follow one another, not {list(slots)}")
        chosen = torch.tensor([*range(start), *slots], dtype=torch.long, device=self.model.device)
        self.tokens = [self.tokens[slot] for slot in chosen.tolist()]
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys.index_select(2, chosen), layer.values.index_select(2, chosen)

    def _append(self, ids: Sequence[int], *, num_logits: int) -> Tensor:
        """Feeds what is pending and then `ids`; the logits [1, num_logits, V] of the last of them."""
        start = len(self.tokens) - self.pending
        again = self.tokens[start:]
        if self.feeds_one_by_one or len(again) > MOST_PENDING:
            self._feed(again, start, 1)
            start, again = len(self.tokens), []
        self.before = (States.of(self.cache), len(again) + len(ids)) if self.is_recurrent and start else None
        logits_1KV = self._feed([*again, *ids], start, num_logits)
        self.tokens += ids
        self.pending = 0
        return logits_1KV

    def _feed(self, ids: Sequence[int], start: int, num_logits: int) -> Tensor:
        """Continues the `start` cached tokens; token by token if the model can do no more at a time."""
        size = 1 if self.feeds_one_by_one and start else max(len(ids), 1)
        pieces = [ids[place : place + size] for place in range(0, len(ids), size)]
        logits = [self._run(piece, start + place * size, num_logits) for place, piece in enumerate(pieces)]
        return torch.cat(logits, dim=1)[:, -num_logits:] if logits else torch.empty(0)

    def _run(self, ids: Sequence[int], start: int, num_logits: int) -> Tensor:
        """One pass, for which the model makes its own masks; logits [1, at most num_logits, V]."""
        device = self.model.device
        given: dict[str, Any] = {
            "input_ids": torch.tensor([list(ids)], device=device),
            "position_ids": torch.arange(start, start + len(ids), device=device)[None],
            "logits_to_keep": num_logits,
            "past_key_values": self.cache,
            "cache_params": self.cache,
            "use_cache": True,
        }
        output = self.model(**{name: value for name, value in given.items() if name in self.accepted})
        return output.logits[:, -num_logits:].float()

    def _restore(self, count: int) -> None:
        """After `count` tokens left `self.tokens`: back to the copied state, or to nothing if it is not old enough."""
        if count <= self.pending:
            self.pending -= count
        elif self.before is not None and self.pending == 0 and count <= self.before[1]:
            states, num_fed = self.before
            states.restore(self.cache, num_fed)
            self.pending, self.before = num_fed - count, None
        else:
            self.cache, self.pending, self.before = new_cache(self.model.config), len(self.tokens), None

    def _try(self) -> None:
        """Finds out whether the model continues a text as it computes it at once, by several tokens or at least by one."""
        for one_by_one in (False, True):
            self.feeds_one_by_one = one_by_one
            is_right = self._continues_rightly()
            self.reset()
            if is_right:
                return
        raise _refusal(self.model.config.model_type, "recurrent state outside of its cache")

    @torch.inference_mode()
    def _continues_rightly(self) -> bool:
        """In coarse arithmetic a small error is expected, so there the state must also be seen to matter."""
        ids = [(7 * place + 3) % self.vocab_size for place in range(sum(TRIAL))]
        expected_TV = self.model(torch.tensor([ids], device=self.model.device)).logits[0].float()
        self.reset()
        pieces = [piece.tolist() for piece in torch.tensor(ids).split(list(TRIAL))]
        found_TV = torch.cat([self._append(piece, num_logits=len(piece))[0] for piece in pieces])
        error = (found_TV - expected_TV).norm() / expected_TV.norm()
        is_close = bool(error <= TOLERANCE.get(self.model.dtype, COARSE_TOLERANCE))
        return is_close and self._state_matters(pieces[0], pieces[1])

    def _state_matters(self, before: Sequence[int], after: Sequence[int]) -> bool:
        """Whether logits change when the state between two pieces of a text is wiped out."""
        self.reset()
        self._append(before, num_logits=1)
        with_state_1KV = self._append(after, num_logits=len(after))
        self.rollback([len(after)])
        return not wipe(self.cache) or not torch.equal(self._append(after, num_logits=len(after)), with_state_1KV)


def _refusal(kind: str, what: str) -> UserError:
    return UserError(
        f"{kind} keeps a state that cannot be rolled back here ({what}); use Transformers' own generate for it, "
        "or a model whose layers attend, or are of Transformers' linear-attention kind"
    )
