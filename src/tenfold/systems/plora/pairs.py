"""The low-rank pairs of a PEFT model, one per adapted matrix, with what PEFT makes of them set right.

    y = (W0 + s * B A) x        W0 (d_out x d_in) frozen, A (r x d_in), B (d_out x r), s = PEFT's `scaling`

`Conv1D` keeps its weight transposed, and a mixture keeps the matrices of all experts in one tensor of three dimensions, with
the As and Bs of all in one parameter each (PEFT's `target_parameters`). `weight`, `write`, `a` and `b` hide that: each
expert's matrix is a pair of its own, called `...experts.gate_up_proj[3]`. Layers of which a merge would not be a sum of
products (DoRA, a bias of its own, several active adapters, an adapter that is merged already) are refused.
"""

# O outputs, I inputs, R rank, E experts
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers.pytorch_utils import Conv1D

from tenfold.core.errors import ConfigError, NumericalError
from tenfold.systems.plora.shards import assign, gathered


@dataclass(frozen=True)
class LoraPair:
    """One adapted matrix: its name in the model without adapters, and its live A and B."""

    name: str
    layer: LoraLayer
    adapter: str
    expert: int | None = None
    """Which of the matrices of a tensor of experts; None where the layer has one matrix."""

    @property
    def parameters(self) -> tuple[nn.Parameter, nn.Parameter]:
        """A and B as PEFT keeps them; those of experts hold the pairs of all experts."""
        return self.layer.lora_A[self.adapter].weight, self.layer.lora_B[self.adapter].weight  # pyright: ignore

    @property
    def a(self) -> Tensor:
        """(r, d_in); writing to it changes the model."""
        return self.of_a(self.parameters[0])

    @property
    def b(self) -> Tensor:
        """(d_out, r); writing to it changes the model."""
        return self.of_b(self.parameters[1])

    def of_a(self, tensor: Tensor) -> Tensor:
        """This pair's part of a tensor shaped like PEFT's A, such as Adam's memory of it; a view."""
        return tensor if self.expert is None else tensor.view(self._num_experts, -1, tensor.shape[-1])[self.expert]

    def of_b(self, tensor: Tensor) -> Tensor:
        """This pair's part of a tensor shaped like PEFT's B; a view."""
        return tensor if self.expert is None else tensor.view(tensor.shape[0], -1, self._num_experts)[..., self.expert]

    @property
    def scaling(self) -> float:
        return float(self.layer.scaling[self.adapter])

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def base(self) -> nn.Module:
        """The frozen layer under the adapter."""
        return self.layer.get_base_layer()

    @property
    def frozen(self) -> Tensor:
        """The frozen parameter that holds the matrix, as the layer keeps it."""
        return self.layer.get_param() if isinstance(self.layer, ParamWrapper) else self.base.weight  # pyright: ignore

    @property
    def is_writable(self) -> bool:
        """Whether the frozen weight is plain floating-point numbers; a quantised one is not and must not be re-quantised."""
        return self.frozen.is_floating_point() and (self.expert is not None or type(self.base) in (nn.Linear, Conv1D))

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return self.b.shape[0], self.a.shape[1]

    @property
    def is_transposed(self) -> bool:
        """Whether the layer keeps the matrix as (d_in, d_out)."""
        if self.expert is None:
            return isinstance(self.base, Conv1D)
        return bool(getattr(self.base, "is_transposed", False))

    def stored(self) -> Tensor:
        """The matrix as the layer keeps it; a view, or gathered where it is spread over processes."""
        frozen = gathered(self.frozen.data)
        return frozen if self.expert is None else frozen[self.expert]

    def weight(self) -> Tensor:
        """The frozen weight as (d_out, d_in)."""
        return self.stored().T if self.is_transposed else self.stored()

    def write(self, weight_OI: Tensor) -> None:
        """Overwrites the frozen weight in place, rounding once to its own type."""
        own = self.frozen.data if self.expert is None else self.frozen.data[self.expert]
        assign(own, weight_OI.T if self.is_transposed else weight_OI)

    def piece(self, share: float) -> tuple[Tensor, Tensor]:
        """`share` of the live update as fp32 (A, B) with the scale folded into B; copies.

        Raises:
            NumericalError: A or B holds NaN or an infinity.
        """
        a_RI, b_OR = (gathered(part.detach()).float().cpu().clone() for part in (self.a, self.b))
        if not (torch.isfinite(a_RI).all() and torch.isfinite(b_OR).all()):
            raise NumericalError(
                f"the adapter of {self.name} holds NaN or an infinity; nothing was unloaded; lower the rate"
            )
        return a_RI, b_OR.contiguous() * (share * self.scaling)

    @property
    def _num_experts(self) -> int:
        assert isinstance(self.layer, ParamWrapper), self.name
        return self.layer.num_experts


def find_pairs(model: nn.Module) -> list[LoraPair]:
    """All pairs of a PEFT LoRA model, in the model's own order.

    Raises:
        ConfigError: there is none, or one cannot be unloaded; the message names it.
    """
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    if not layers:
        raise ConfigError(
            "the model has no LoRA layer; add an adapter with train.adapters.add_lora or peft.get_peft_model first"
        )
    return [pair for name, layer in layers for pair in _pairs_of(name, layer)]


def names(pairs: Sequence[LoraPair]) -> list[str]:
    """The names of the matrices."""
    return [pair.name for pair in pairs]


def parts_of_name(name: str) -> tuple[str, str, int] | None:
    """(module, parameter, expert) of the matrix of an expert; None for any other."""
    path, bracket, number = name.removesuffix("]").partition("[")
    module, _, parameter = path.rpartition(".")
    return (module, parameter, int(number)) if bracket else None


def _pairs_of(path: str, layer: LoraLayer) -> Iterator[LoraPair]:
    name = path.removeprefix("base_model.model.")
    adapters = list(layer.active_adapters)
    problem = _problem(layer, adapters)
    if problem:
        raise ConfigError(f"{name} cannot be unloaded: {problem}")
    if not isinstance(layer, ParamWrapper):
        yield LoraPair(name, layer, adapters[0])
        return
    module = name.replace(".base_layer", "")  # wrappers of several parameters of one module are nested
    for expert in range(layer.num_experts):
        yield LoraPair(f"{module}.{layer.parameter_name}[{expert}]", layer, adapters[0], expert)


def _problem(layer: LoraLayer, adapters: list[str]) -> str | None:
    if not isinstance(layer, LoraLinear | ParamWrapper) and not _is_quantised(layer):
        return f"PEFT adapts it as {type(layer).__name__}; linear layers are accepted, so take it out of the targets"
    if layer.merged:
        return "its adapter is merged already; unmerge it first"
    if len(adapters) != 1:
        return f"{len(adapters)} adapters are active ({', '.join(adapters)}); activate one"
    if layer.lora_variant.get(adapters[0]) is not None:
        return f"it is a LoRA variant ({type(layer.lora_variant[adapters[0]]).__name__}); use plain LoRA"
    if layer.lora_bias.get(adapters[0]):
        return "its adapter has a bias (lora_bias); switch it off"
    if isinstance(layer, ParamWrapper) and isinstance(layer.get_param(), DTensor):
        return "the experts' tensor is spread over processes; train experts with DDP, or leave them out of the targets"
    return None


def _is_quantised(layer: LoraLayer) -> bool:
    """A linear layer of a 4- or 8-bit base, for which PEFT has a class of its own for each library."""
    weight = getattr(layer.get_base_layer(), "weight", None)
    is_linear = all(isinstance(part, nn.Linear) for part in (*layer.lora_A.values(), *layer.lora_B.values()))
    return isinstance(weight, Tensor) and not weight.is_floating_point() and is_linear and bool(layer.lora_A)
