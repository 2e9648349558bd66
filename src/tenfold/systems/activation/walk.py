"""Layer by layer through a model, seeing what goes into each linear map, while the layers below are already pruned.

A layer is run twice: once to watch its inputs, then, after its weights were changed, for the states of the next one. So the
statistics of a layer are those that it will meet, as in SparseGPT and Wanda. Experts are seen too: their products are caught
as they happen, one by one or grouped.
"""

# R rows (tokens), O outputs, I inputs, E experts
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from tenfold.nn.named_linears import NamedLinear, decoder_layers, named_linears
from tenfold.systems.activation.collect import pad

BATCH_TOKENS = 2048


@dataclass
class InputStatistics:
    """What went into one map: sums of squares by input, and of products of inputs where they were asked for."""

    linear: NamedLinear
    with_products: bool = False
    rows: int = 0
    squares_I: Tensor = field(init=False)
    products_II: Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        inputs = self.linear.weight_OI.shape[1]
        self.squares_I = torch.zeros(inputs)
        if self.with_products:
            self.products_II = torch.zeros(inputs, inputs)

    def see(self, inputs_RI: Tensor) -> None:
        rows_RI = inputs_RI.reshape(-1, inputs_RI.shape[-1]).float()
        self.rows += len(rows_RI)
        self.squares_I += rows_RI.square().sum(0)
        if self.products_II is not None:
            self.products_II += rows_RI.T @ rows_RI

    @property
    def norms_I(self) -> Tensor:  # noqa: N802 (the suffix names the dimensions)
        """norm2(X_j); all ones where nothing ever came, so that the weights alone decide."""
        return self.squares_I.sqrt() if self.rows else torch.ones_like(self.squares_I)


Change = Callable[[InputStatistics], None]
"""Looks at what went into one map and changes its weights."""


@torch.no_grad()
def walk(
    model: PreTrainedModel, texts: Sequence[Sequence[int]], change: Change, *, with_products: bool = False
) -> Iterator[int]:
    """Runs equally long texts through the layers; yields the number of each layer once its maps are changed."""
    calls = _first_calls(model, texts)
    layers, linears = decoder_layers(model), named_linears(model)
    _show_experts(model)
    for number, layer in enumerate(layers):
        mine = [InputStatistics(linear, with_products) for linear in linears if linear.layer == number]
        with _watched(mine):
            for call in calls:
                layer(*call.arguments, **call.keywords)
        for statistics in mine:
            change(statistics)
        yield number
        if number + 1 < len(layers):
            for call in calls:
                call.advance(layer)


@dataclass
class _Call:
    """How a batch enters a layer; what stays the same from layer to layer is kept."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def advance(self, layer: torch.nn.Module) -> None:
        output = layer(*self.arguments, **self.keywords)
        hidden = output if isinstance(output, Tensor) else output[0]
        if self.arguments:
            self.arguments = (hidden, *self.arguments[1:])
        else:
            self.keywords["hidden_states"] = hidden


class _Caught(Exception):  # noqa: N818 (nothing went wrong)
    """The first layer was reached."""


def _first_calls(model: PreTrainedModel, texts: Sequence[Sequence[int]]) -> list[_Call]:
    calls: list[_Call] = []

    def catch(_module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        calls.append(_Call(arguments, dict(keywords)))
        raise _Caught

    size = max(1, BATCH_TOKENS // max(len(ids) for ids in texts))
    handle = decoder_layers(model)[0].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        for start in range(0, len(texts), size):
            ids_NT, lengths_N = pad(texts[start : start + size])
            assert int(lengths_N.min()) == ids_NT.shape[1], f"texts of {lengths_N.tolist()} tokens; cut them to one length"
            try:
                model(input_ids=ids_NT, use_cache=False)
            except _Caught:
                continue
    finally:
        handle.remove()
    return calls


@contextmanager
def _watched(statistics: Sequence[InputStatistics]) -> Iterator[None]:
    """Inside, each map's inputs are counted."""

    def watch(one: InputStatistics) -> Any:
        return lambda _module, inputs, _output: one.see(inputs[0])

    experts = [one for one in statistics if one.linear.expert is not None]
    with ExitStack() as stack:
        for one in statistics:
            if one.linear.expert is None:
                stack.callback(one.linear.module.register_forward_hook(watch(one)).remove)
        if experts:
            stack.enter_context(_ExpertInputs(experts))
        yield


class _ExpertInputs(TorchFunctionMode):
    """Catches products with an expert's weights, told by where the weights lie in memory."""

    def __init__(self, experts: Sequence[InputStatistics]) -> None:
        super().__init__()
        self.by_place = {one.linear.parameter[one.linear.expert].data_ptr(): one for one in experts}
        self.stacks: dict[int, list[InputStatistics]] = {}
        for one in experts:
            self.stacks.setdefault(one.linear.parameter.data_ptr(), []).append(one)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.linear and args[1].data_ptr() in self.by_place and args[1].dim() == 2:
            self.by_place[args[1].data_ptr()].see(args[0])
        elif func is functional.grouped_mm and args[1].data_ptr() in self.stacks:
            self._grouped(args[0], self.stacks[args[1].data_ptr()], (kwargs or {}).get("offs"))
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _grouped(rows_RI: Tensor, experts: Sequence[InputStatistics], offset_E: Tensor | None) -> None:
        assert offset_E is not None, "a grouped product of experts comes with the end of each expert's rows"
        ends = offset_E.tolist()
        for one, start, stop in zip(experts, [0, *ends], ends, strict=False):
            if stop > start:
                one.see(rows_RI[start:stop])


def _show_experts(model: PreTrainedModel) -> None:
    """Lets Transformers compute experts one by one, which can be caught; a model of another kind stays as it is."""
    config = model.config.get_text_config()
    if getattr(config, "_experts_implementation", None) not in (None, "eager"):
        model.set_experts_implementation("eager")
