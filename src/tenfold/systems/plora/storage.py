"""Where the unloaded update acts on the model.

fold      the compute weight is rebuilt from W0 and all pieces, with one rounding; the default
live      the frozen weight is left alone, and the pieces act as a further low-rank term; for bases that cannot be
          written, such as 4-bit ones, which must never be quantised a second time
inplace   the piece is added to the rounded weight, as common implementations do; it loses small updates in bf16,
          and is here for the comparison
"""

# T positions, I inputs, O outputs, R stacked ranks
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from torch import Tensor, nn
from torch.nn.functional import linear

from tenfold.core.errors import ConfigError
from tenfold.systems.plora.base import BaseWeights
from tenfold.systems.plora.deltas import DeltaLedger
from tenfold.systems.plora.pairs import LoraPair

StorageName = Literal["fold", "live", "inplace"]


class Storage(Protocol):
    """Brings a pair's compute weight up to the ledger's last stage."""

    def update(self, pair: LoraPair, *, num_new: int) -> None:
        """Called after stages were appended or forgotten; `num_new` is how many were appended since the last call."""
        ...


class Fold:
    """`W = round(W0 + S)`, rebuilt matrix by matrix."""

    def __init__(self, ledger: DeltaLedger, base: BaseWeights) -> None:
        self.ledger = ledger
        self.base = base

    def update(self, pair: LoraPair, *, num_new: int) -> None:
        pair.write(self.ledger.fold(pair.name, self.base.read(pair.name).to(pair.a.device)))


class Live:
    """`y = W0 x + B (A x)` with all pieces stacked, by a hook on the frozen layer."""

    def __init__(self, ledger: DeltaLedger) -> None:
        self.ledger = ledger
        self.hooks: dict[str, Any] = {}

    def update(self, pair: LoraPair, *, num_new: int) -> None:
        if pair.name in self.hooks:
            self.hooks.pop(pair.name).remove()
        stacked = self.ledger.stacked(pair.name)
        if stacked:
            a_RI, b_OR = (part.to(pair.a.device) for part in stacked)
            self.hooks[pair.name] = pair.base.register_forward_hook(extra_term(a_RI, b_OR))


class InPlace:
    """`W = round(W + piece)` at every stage; errors add up."""

    def __init__(self, ledger: DeltaLedger) -> None:
        self.ledger = ledger

    def update(self, pair: LoraPair, *, num_new: int) -> None:
        pieces = self.ledger.pieces(pair.name)
        for a_RI, b_OR in pieces[len(pieces) - num_new :]:
            weight_OI = pair.weight()
            pair.write(weight_OI + (b_OR.to(weight_OI.device) @ a_RI.to(weight_OI.device)).to(weight_OI.dtype))


def make_storage(name: StorageName, pairs: Sequence[LoraPair], ledger: DeltaLedger, base: BaseWeights) -> Storage:
    """A storage by name.

    Raises:
        ConfigError: it cannot be used with these weights.
    """
    locked = [pair.name for pair in pairs if not pair.is_writable]
    if name != "live" and locked:
        raise ConfigError(
            f"storage is {name}, but the weights of {locked[0]} cannot be written without quantising them again; "
            "use storage live"
        )
    experts = [pair.name for pair in pairs if pair.expert is not None]
    if name == "live" and experts:
        raise ConfigError(
            f"storage is live, but {experts[0]} lies in a tensor of experts, which has no layer of its own; use fold"
        )
    if name == "inplace":
        warnings.warn("storage inplace loses small updates to rounding; use fold", stacklevel=2)
        return InPlace(ledger)
    return Live(ledger) if name == "live" else Fold(ledger, base)


def extra_term(a_RI: Tensor, b_OR: Tensor) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    """A forward hook that adds `B A x` to what a linear layer gives."""

    def add(_: nn.Module, inputs: tuple[Any, ...], output_TO: Tensor) -> Tensor:
        input_TI = inputs[0].to(a_RI.dtype)
        return output_TO + linear(linear(input_TI, a_RI), b_OR).to(output_TO.dtype)

    return add
