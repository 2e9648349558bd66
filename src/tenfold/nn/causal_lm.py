"""The seam every decoder plugs into: a causal LM with a KV cache that can be rolled back.

A `CausalLM` holds `batch_size` rows, each with its own number of cached tokens (`lengths`), so that rows may
advance by different amounts. A token's logits do not depend on which pass computed them; how far that promise
reaches is stated in `exactness`:

    bit     equal to the last bit, whatever the split into passes (widths are padded to ones proven equal); for tokens that
            follow one another, not for trees
    token   equal up to floating-point rounding; near ties may fall either way
"""

# B rows of the batch, K query tokens of one pass, V vocabulary
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from tenfold.core.errors import UserError

Exactness = Literal["bit", "token"]


class CausalLM(Protocol):
    """A target or draft model with rollback."""

    vocab_size: int
    max_positions: int
    batch_size: int

    @property
    def exactness(self) -> Exactness:
        """How far the promise about logits reaches."""
        ...

    @property
    def lengths(self) -> Sequence[int]:
        """Number of cached tokens per row."""
        ...

    def reset(self) -> None:
        """Forgets all cached tokens."""
        ...

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Appends one token sequence per row, of any lengths, and returns the last token's logits, [B, V] float32."""
        ...

    def forward(self, ids_BK: Tensor, *, depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None) -> Tensor:
        """Appends K tokens to every row and returns their logits, [B, K, V] float32.

        By default the K tokens follow one another. For a token tree, `depths_K` gives each token's depth below
        the cached prefix (position = length + depth) and `ancestors_KK` (bool) what it sees among the K.
        """
        ...

    def rollback(self, counts: Sequence[int]) -> None:
        """Drops the last `counts[b]` cached tokens of each row."""
        ...

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        """In `row`, keeps of the slots from `start` on only those given (ascending), moved together."""
        ...


@runtime_checkable
class RaggedLM(CausalLM, Protocol):
    """A `CausalLM` of several rows that start, advance and end independently of one another."""

    def prefill_row(self, row: int, prompt: Sequence[int]) -> Tensor:
        """Appends a prompt to one row only and returns its last token's logits, [V] float32."""
        ...

    def forward_ragged(self, tokens: Mapping[int, Sequence[int]]) -> Mapping[int, Tensor]:
        """Appends to each row named its own tokens, which follow one another; logits [K, V] float32 of each.

        Rows that are not named stay as they are, and are not computed.
        """
        ...


def check_one_row(model: CausalLM) -> None:
    """Raises UserError if the model was made for several rows."""
    if model.batch_size != 1:
        raise UserError(f"one text at a time is decoded here, but the model has {model.batch_size} rows; use batch_size=1")


def check_room(model: CausalLM, num_tokens: int) -> None:
    """Raises UserError (a ValueError) if some row has no room for `num_tokens` more tokens."""
    check_positions(model, max(model.lengths), num_tokens)


def check_positions(model: CausalLM, length: int, num_tokens: int) -> None:
    """Raises UserError if `num_tokens` more tokens do not fit after `length`."""
    if length + num_tokens > model.max_positions:
        raise UserError(
            f"{length} + {num_tokens} tokens do not fit into the model's {model.max_positions} positions; "
            "shorten the prompt or lower max_new_tokens"
        )
