"""The low-rank pairs of a PEFT model, one per adapted matrix, with what PEFT makes of them set right.

    y = (W0 + s * B A) x        W0 (d_out x d_in) frozen, A (r x d_in), B (d_out x r), s = PEFT's `scaling`

`Conv1D` keeps its weight transposed; `weight` and `write` hide that. Layers of which a merge would not be a sum of
products (DoRA, a bias of its own, several active adapters, an adapter that is merged already) are refused.
"""

# O outputs, I inputs, R rank
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tenfold.core.errors import ConfigError, NumericalError
from tenfold.systems.plora.shards import assign, gathered


@dataclass(frozen=True)
class LoraPair:
    """One adapted matrix: its name in the model without adapters, and its live A and B."""

    name: str
    layer: LoraLayer
    adapter: str

    @property
    def a(self) -> nn.Parameter:
        return self.layer.lora_A[self.adapter].weight  # pyright: ignore[reportReturnType]

    @property
    def b(self) -> nn.Parameter:
        return self.layer.lora_B[self.adapter].weight  # pyright: ignore[reportReturnType]

    @property
    def scaling(self) -> float:
        return float(self.layer.scaling[self.adapter])

    @property
    def parameters(self) -> tuple[nn.Parameter, nn.Parameter]:
        return self.a, self.b

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def base(self) -> nn.Module:
        """The frozen layer under the adapter."""
        return self.layer.get_base_layer()

    @property
    def is_writable(self) -> bool:
        """Whether the frozen weight is plain floating-point numbers; a quantised one is not and must not be re-quantised."""
        return self.base.weight.is_floating_point() and type(self.base) in (nn.Linear, Conv1D)  # pyright: ignore

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return self.b.shape[0], self.a.shape[1]

    def weight(self) -> Tensor:
        """The frozen weight as (d_out, d_in); a view, or gathered where it is spread over processes."""
        weight = gathered(self.base.weight.data)  # pyright: ignore
        return weight.T if isinstance(self.base, Conv1D) else weight

    def write(self, weight_OI: Tensor) -> None:
        """Overwrites the frozen weight in place, rounding once to its own type."""
        weight: Tensor = self.base.weight.data  # pyright: ignore
        assign(weight, weight_OI.T if isinstance(self.base, Conv1D) else weight_OI)

    def piece(self, share: float) -> tuple[Tensor, Tensor]:
        """`share` of the live update as fp32 (A, B) with the scale folded into B; copies.

        Raises:
            NumericalError: A or B holds NaN or an infinity.
        """
        a_RI, b_OR = (gathered(parameter.detach()).float().cpu().clone() for parameter in self.parameters)
        if not (torch.isfinite(a_RI).all() and torch.isfinite(b_OR).all()):
            raise NumericalError(
                f"the adapter of {self.name} holds NaN or an infinity; nothing was unloaded; lower the rate"
            )
        return a_RI, b_OR * (share * self.scaling)


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
    return [_pair(name, layer) for name, layer in layers]


def names(pairs: Sequence[LoraPair]) -> list[str]:
    """The names of the matrices."""
    return [pair.name for pair in pairs]


def _pair(path: str, layer: LoraLayer) -> LoraPair:
    name = path.removeprefix("base_model.model.")
    adapters = list(layer.active_adapters)
    problem = _problem(layer, adapters)
    if problem:
        raise ConfigError(f"{name} cannot be unloaded: {problem}")
    return LoraPair(name, layer, adapters[0])


def _problem(layer: LoraLayer, adapters: list[str]) -> str | None:
    if not isinstance(layer, LoraLinear):
        return f"PEFT adapts it as {type(layer).__name__}; linear layers are accepted, so take it out of the targets"
    if layer.merged:
        return "its adapter is merged already; unmerge it first"
    if len(adapters) != 1:
        return f"{len(adapters)} adapters are active ({', '.join(adapters)}); activate one"
    if layer.lora_variant.get(adapters[0]) is not None:
        return f"it is a LoRA variant ({type(layer.lora_variant[adapters[0]]).__name__}); use plain LoRA"
    if layer.lora_bias.get(adapters[0]):
        return "its adapter has a bias (lora_bias); switch it off"
    return None
