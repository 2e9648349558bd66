"""One backward pass a batch of texts, one matrix' gradient alive at a time, each text's pattern kept apart.

`hooks` freezes the weights. At a linear map, the gradient of text n is delta_n^T u_n, of what went in (u) and what came back
(delta), so a batch gives each text its own |w * dD/dw|, which a summed gradient could not. `autograd` lets torch compute the
gradient of one text and drops each as soon as it is there; mixtures of experts need it, as their kernel hides its inputs.
"""

# N texts, T tokens, V vocabulary, O outputs, I inputs
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tenfold.core.errors import NumericalError, UserError
from tenfold.nn.named_linears import NamedLinear, named_linears
from tenfold.systems.activation.reducers import Reducer
from tenfold.systems.activation.routing import RoutedTokens
from tenfold.systems.activation.targets import Target

Mode = Literal["hooks", "autograd"]


def collect(
    model: PreTrainedModel,
    texts: Sequence[Sequence[int]],
    target: Target,
    reducers: Sequence[Reducer],
    *,
    batch_size: int = 8,
    mode: Mode | None = None,
    routed: RoutedTokens | None = None,
) -> list[float]:
    """Hands every text's pattern to every reducer, and returns D of each text.

    Args:
        texts: token ids; a reducer is told the place of a text in this list.
        mode: None takes `hooks`, or `autograd` for a mixture of experts.
        routed: is told which experts each text reached. Of an expert that it did not reach, reducers see nothing.

    Raises:
        UserError: a text without tokens, or a model without linear maps.
        NumericalError: a gradient is not finite; its matrix is named.
    """
    empty = [place for place, ids in enumerate(texts) if len(ids) == 0]
    if empty:
        raise UserError(f"text {empty[0]} has no tokens; leave empty texts out")
    linears = named_linears(model)
    has_experts = any(linear.expert is not None for linear in linears)
    if mode == "hooks" and has_experts:
        raise UserError("mode 'hooks' cannot see into experts; take 'autograd' for a mixture of experts")
    if mode == "autograd" or (mode is None and has_experts):
        routed = routed or RoutedTokens()
        return [_by_autograd(model, linears, place, ids, target, reducers, routed) for place, ids in enumerate(texts)]
    values: list[float] = []
    for start in range(0, len(texts), batch_size):
        values += _by_hooks(model, linears, start, texts[start : start + batch_size], target, reducers)
    return values


def pad(texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(ids [N, T] padded with 0 on the right, lengths [N])."""
    ids_NT = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for row, ids in enumerate(texts):
        ids_NT[row, : len(ids)] = torch.tensor(ids)
    return ids_NT, torch.tensor([len(ids) for ids in texts])


def run_target(model: PreTrainedModel, texts: Sequence[Sequence[int]], target: Target) -> Tensor:
    """D [N], with its graph where gradients are on; 16-bit logits are widened first."""
    ids_NT, lengths_N = pad(texts)
    mask_NT = (torch.arange(ids_NT.shape[1])[None] < lengths_N[:, None]).long()
    logits_NTV = model(input_ids=ids_NT, attention_mask=mask_NT, use_cache=False).logits
    return target(_widen(logits_NTV), ids_NT, lengths_N)


def _by_hooks(
    model: PreTrainedModel,
    linears: Sequence[NamedLinear],
    start: int,
    texts: Sequence[Sequence[int]],
    target: Target,
    reducers: Sequence[Reducer],
) -> list[float]:
    buffers = _Buffers()

    def watch(linear: NamedLinear) -> Any:
        def forward(_module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            u_NTI = inputs[0].detach()

            def backward(delta_NTO: Tensor) -> None:
                for row in range(len(texts)):
                    gradient_OI = buffers.product(_widen(delta_NTO[row]).T, _widen(u_NTI[row]))
                    _reduce(linear, start + row, gradient_OI, reducers)

            output.register_hook(backward)

        return forward

    with _gradients(model, []), ExitStack() as stack, torch.enable_grad():
        embeddings = model.get_input_embeddings()
        stack.callback(embeddings.register_forward_hook(lambda _m, _i, output: output.requires_grad_()).remove)
        for linear in linears:
            stack.callback(linear.module.register_forward_hook(watch(linear)).remove)
        values_N = run_target(model, texts, target)
        values_N.sum().backward()
    return values_N.tolist()


class _Buffers:
    """One buffer for each shape of a product, used again and again.

    Fresh memory for each gradient would be cut up by the small tensors that reducers keep: with a hundred million weights
    the heap grew to seven times the model.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int, torch.dtype], Tensor] = {}

    def product(self, left_OT: Tensor, right_TI: Tensor) -> Tensor:
        """The product, valid until the next one of its shape."""
        key = (left_OT.shape[0], right_TI.shape[1], right_TI.dtype)
        if key not in self.kept:
            self.kept[key] = right_TI.new_empty(key[:2])
        return torch.mm(left_OT, right_TI, out=self.kept[key])


def _by_autograd(
    model: PreTrainedModel,
    linears: Sequence[NamedLinear],
    place: int,
    ids: Sequence[int],
    target: Target,
    reducers: Sequence[Reducer],
    routed: RoutedTokens,
) -> float:
    owners: dict[torch.nn.Parameter, list[NamedLinear]] = {}
    for linear in linears:
        owners.setdefault(linear.parameter, []).append(linear)

    def drop(parameter: torch.nn.Parameter) -> None:
        assert parameter.grad is not None
        for linear in owners[parameter]:
            if linear.expert is not None and not routed.reached(place, linear):
                continue
            _reduce(linear, place, _widen(linear.oriented(parameter.grad)), reducers)
        parameter.grad = None

    with _gradients(model, list(owners)), ExitStack() as stack, torch.enable_grad():
        for parameter in owners:
            stack.callback(parameter.register_post_accumulate_grad_hook(drop).remove)
        stack.enter_context(routed.watching(linears, place))
        values_N = run_target(model, [ids], target)
        values_N.sum().backward()
    return values_N.item()


def _reduce(linear: NamedLinear, text: int, gradient_OI: Tensor, reducers: Sequence[Reducer]) -> None:
    a_OI = gradient_OI.mul_(linear.weight_OI).abs_()
    if not bool(torch.isfinite(a_OI.sum())):
        raise NumericalError(f"the gradient of {linear.name} is not finite for text {text}; load the model in float32")
    for reducer in reducers:
        reducer.add(linear, text, a_OI)


def _widen(tensor: Tensor) -> Tensor:
    """At least float32."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@contextmanager
def _gradients(model: PreTrainedModel, wanted: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Only the wanted weights take gradients inside; afterwards all are as they were."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    for parameter in wanted:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)
