"""Which experts a text's tokens were sent to: read off the choice that enters a layer's experts.

Every mixture in Transformers, and our own, calls its experts with the chosen experts of each token, the one argument of
whole numbers. An expert that no token of a text reached has no pattern for it: that is missing, and not 0.
"""

# E experts, T tokens, K chosen experts
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from tenfold.core.errors import UserError
from tenfold.nn.named_linears import NamedLinear


class RoutedTokens:
    """Tokens by text, layer and expert."""

    def __init__(self) -> None:
        self.tokens: dict[tuple[int, int], Tensor] = {}

    def reached(self, text: int, linear: NamedLinear) -> bool:
        """Whether a token of the text came to this map's expert."""
        assert linear.expert is not None, linear.name
        return int(self.tokens[text, linear.layer][linear.expert]) > 0

    @contextmanager
    def watching(self, linears: Sequence[NamedLinear], text: int) -> Iterator[None]:
        """Inside, the choices of one text are counted."""
        modules = {linear.module: linear for linear in linears if linear.expert is not None}
        with ExitStack() as stack:
            for module, linear in modules.items():
                hook = self._counter(linear, text)
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            yield

    def _counter(self, linear: NamedLinear, text: int) -> Any:
        def count(_module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            values = [*arguments, *keywords.values()]
            whole = [x for x in values if isinstance(x, Tensor) and not x.is_floating_point() and x.dtype != torch.bool]
            if len(whole) != 1:
                raise UserError(
                    f"{linear.name}: its experts are called with {len(whole)} tensors of whole numbers; one, the chosen"
                    " experts of each token, is accepted"
                )
            num_experts = len(linear.parameter)
            chosen = whole[0].flatten()
            chosen = chosen[chosen < num_experts]  # one beyond the last stands for no expert
            self.tokens[text, linear.layer] = torch.bincount(chosen, minlength=num_experts)

        return count
