"""The linear maps of a model's decoder layers, by name and in a stable order; each expert of a mixture is its own map.

Norms, embeddings, routers and the output head are left out. A weight is always seen as [outputs, inputs], also where the
model stores it transposed (`Conv1D` of GPT-2).
"""

# O outputs, I inputs, E experts
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tenfold.core.errors import UserError


@dataclass(frozen=True, eq=False)
class NamedLinear:
    """One map. `name` is unique in the model, `kind` (`self_attn.q_proj`) recurs in each layer, `layer` counts from 0."""

    name: str
    layer: int
    kind: str
    module: nn.Module
    parameter: nn.Parameter
    transposed: bool = False
    expert: int | None = None

    def oriented(self, tensor: Tensor) -> Tensor:
        """The part of a tensor shaped like the parameter that belongs to this map, as [O, I]; a view."""
        part = tensor if self.expert is None else tensor[self.expert]
        return part.mT if self.transposed else part

    @property
    def weight_OI(self) -> Tensor:  # noqa: N802 (the suffix names the dimensions)
        """The weights [O, I], detached; writing to them changes the model."""
        return self.oriented(self.parameter.detach())


def decoder_layers(model: PreTrainedModel) -> Sequence[nn.Module]:
    """The decoder layers, first one first.

    Raises:
        UserError: no list of modules is as long as the config's number of layers.
    """
    return _layers(model)[1]


def named_linears(model: PreTrainedModel) -> list[NamedLinear]:
    """All maps of the decoder layers, in the order of layers and, within a layer, of the model's own modules.

    Raises:
        UserError: there are none, or the weights are quantised.
    """
    if getattr(model, "quantization_method", None) is not None:
        raise UserError("the model's weights are quantised; load it dequantised (a GGUF file is converted on loading)")
    prefix, layers = _layers(model)
    found = [linear for number, layer in enumerate(layers) for linear in _of_layer(f"{prefix}.{number}", number, layer)]
    if not found:
        raise UserError(
            f"{type(model).__name__} has no linear maps in its layers; give a decoder such as a Llama or a GPT-2"
        )
    return found


def _layers(model: PreTrainedModel) -> tuple[str, Sequence[nn.Module]]:
    count = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name, list(module)
    raise UserError(f"{type(model).__name__} has no list of {count} layers; give a decoder such as a Llama or a GPT-2")


def _of_layer(prefix: str, number: int, layer: nn.Module) -> Iterator[NamedLinear]:
    for kind, module in layer.named_modules():
        name = f"{prefix}.{kind}"
        if isinstance(module, nn.Linear | Conv1D):
            assert isinstance(module.weight, nn.Parameter)
            yield NamedLinear(name, number, kind, module, module.weight, isinstance(module, Conv1D))
        for own, parameter in module.named_parameters(recurse=False):
            if parameter.dim() == 3:
                transposed = bool(getattr(module, "is_transposed", False))
                for expert in range(len(parameter)):
                    each = f"{kind}.{expert}.{own}"
                    yield NamedLinear(f"{prefix}.{each}", number, each, module, parameter, transposed, expert)
