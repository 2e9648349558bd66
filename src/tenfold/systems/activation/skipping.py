"""Which layers of a model can draft for it: those whose absence would change the loss most must stay.

The first-order effect of leaving a layer out is the gradient at its output times what it adds, which is the sum of w * dD/dw
over the matrices that write into the residual. The scores go to a file of {layer, score} that a layer-skip drafter reads;
how often the chosen layers agree with the whole model is measured beside layers chosen at random.
"""

# N texts, T tokens, D model width
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tenfold.nn.named_linears import decoder_layers
from tenfold.systems.activation import targets
from tenfold.systems.activation.collect import run_target

RANDOM_SETS = 10


def layer_effects(model: PreTrainedModel, texts: Sequence[Sequence[int]]) -> list[float]:
    """Mean over texts of |gradient of the loss at a layer's output, times what the layer adds|."""
    effects = np.zeros((len(texts), len(decoder_layers(model))))
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        for row, ids in enumerate(texts):
            effects[row] = _effects(model, ids)
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
    return np.abs(effects).mean(0).tolist()


def _effects(model: PreTrainedModel, ids: Sequence[int]) -> list[float]:
    added: dict[int, tuple[Tensor, Tensor]] = {}

    def watch(number: int) -> Any:
        def hook(_module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            out_NTD = output if isinstance(output, Tensor) else output[0]
            out_NTD.retain_grad()
            into_NTD = arguments[0] if arguments else keywords["hidden_states"]
            added[number] = (out_NTD, out_NTD.detach() - into_NTD.detach())

        return hook

    with ExitStack() as stack, torch.enable_grad():
        embeddings = model.get_input_embeddings()
        stack.callback(embeddings.register_forward_hook(lambda _m, _i, output: output.requires_grad_()).remove)
        for number, layer in enumerate(decoder_layers(model)):
            stack.callback(layer.register_forward_hook(watch(number), with_kwargs=True).remove)
        run_target(model, [ids], targets.nll).sum().backward()
    return [float((out.grad * change).sum()) for _, (out, change) in sorted(added.items()) if out.grad is not None]


def best_layers(scores: Sequence[float], count: int) -> list[int]:
    """The layers with the highest scores, in the model's order."""
    return sorted(sorted(range(len(scores)), key=lambda layer: -scores[layer])[:count])


def random_layers(num_layers: int, count: int, *, seed: int) -> list[list[int]]:
    """Sets of so many layers, drawn without looking."""
    generator = np.random.default_rng(seed)
    return [sorted(generator.choice(num_layers, count, replace=False).tolist()) for _ in range(RANDOM_SETS)]


@torch.inference_mode()
def choices(model: PreTrainedModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """The likeliest next token after each token of texts of one length [N, T]."""
    return model(input_ids=torch.tensor([list(ids) for ids in texts]), use_cache=False).logits.argmax(-1)


def agreement(model: PreTrainedModel, texts: Sequence[Sequence[int]], layers: Sequence[int], whole_NT: Tensor) -> float:
    """Share of positions at which these layers alone choose the whole model's token."""
    with only(model, layers):
        return float((choices(model, texts) == whole_NT).double().mean())


@contextmanager
def only(model: PreTrainedModel, layers: Sequence[int]) -> Iterator[None]:
    """Inside, all other layers hand on what they are given."""

    def hand_on(hidden_states: Tensor, *_arguments: Any, **_keywords: Any) -> Tensor:
        return hidden_states

    skipped = [layer for number, layer in enumerate(decoder_layers(model)) if number not in layers]
    try:
        for layer in skipped:
            layer.forward = hand_on
        yield
    finally:
        for layer in skipped:
            del layer.forward


def compare(model: PreTrainedModel, texts: Sequence[Sequence[int]], scores: Sequence[float], count: int) -> dict[str, Any]:
    """Agreement of the chosen layers, beside random ones and evenly spread ones of the same number."""
    whole_NT, num_layers = choices(model, texts), len(scores)
    random = [agreement(model, texts, layers, whole_NT) for layers in random_layers(num_layers, count, seed=0)]
    even = [round(place * (num_layers - 1) / max(1, count - 1)) for place in range(count)]
    layers = best_layers(scores, count)
    chosen = agreement(model, texts, layers, whole_NT)
    return {
        "layers": layers,
        "chosen": chosen,
        "even": agreement(model, texts, even, whole_NT),
        "random_mean": float(np.mean(random)),
        "random_best": max(random),
        "random_beaten": sum(chosen > value for value in random),
        "random_sets": len(random),
        "positions": int(whole_NT.numel()),
    }
