"""Which weights stay: one bool a weight, kept as packed bits, applied to a model, and held through an adapter's merge.

Merging a LoRA adapter into a pruned model fills its zeros again: W*M + sBA has none. `merge_lora` keeps (W + sBA)*M.
"""

# O outputs, I inputs
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from tenfold.core.errors import MissingArtifactError, UserError
from tenfold.nn.named_linears import named_linears
from tenfold.store import atomic

FILE = "masks.safetensors"


@dataclass(frozen=True)
class Masks:
    """True where a weight stays, as [O, I] by the name of the matrix."""

    kept: Mapping[str, Tensor]

    @property
    def sparsity(self) -> float:
        """Share of the weights that are gone."""
        total = sum(mask.numel() for mask in self.kept.values())
        return 1 - sum(int(mask.sum()) for mask in self.kept.values()) / total

    def by_layer(self, model: PreTrainedModel) -> list[float]:
        """Sparsity of each layer."""
        gone: dict[int, list[int]] = {}
        for linear in named_linears(model):
            mask = self.kept[linear.name]
            counts = gone.setdefault(linear.layer, [0, 0])
            counts[0] += mask.numel() - int(mask.sum())
            counts[1] += mask.numel()
        return [zeros / total for _, (zeros, total) in sorted(gone.items())]

    def apply(self, model: PreTrainedModel) -> None:
        """Writes zeros into the model.

        Raises:
            UserError: the masks are of a model with other matrices.
        """
        linears = {linear.name: linear for linear in named_linears(model)}
        if linears.keys() != self.kept.keys():
            raise UserError(
                f"the masks have {len(self.kept)} matrices and the model {len(linears)}; they are of another model"
            )
        for name, linear in linears.items():
            linear.weight_OI.mul_(self.kept[name])

    def save(self, folder: Path, *, base: str) -> Path:
        """Writes `masks.safetensors` with the digest of the base that they were made for."""
        shapes = {name: list(mask.shape) for name, mask in self.kept.items()}
        packed = {name: torch.from_numpy(np.packbits(mask.numpy())) for name, mask in self.kept.items()}
        about = {"shapes": json.dumps(shapes), "base": base}
        atomic.write_file(folder / FILE, lambda scratch: save_file(packed, scratch, metadata=about))
        return folder / FILE


def load_masks(path: Path, *, base: str | None = None) -> Masks:
    """Masks from a file.

    Raises:
        MissingArtifactError: there is no such file.
        UserError: they were made for another base than the one whose digest is given.
    """
    if not path.is_file():
        raise MissingArtifactError(f"no masks at {str(path)!r}; `tenfold activation prune --export` writes {FILE}")
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        if base is not None and about["base"] != base:
            raise UserError(f"the masks are of a base with digest {about['base']}, this one has {base}; load the same base")
        shapes: dict[str, list[int]] = json.loads(about["shapes"])
        return Masks({name: _unpacked(file.get_tensor(name), shape) for name, shape in shapes.items()})


def _unpacked(bits: Tensor, shape: list[int]) -> Tensor:
    rows, columns = shape
    flat = np.unpackbits(bits.numpy(), count=rows * columns)
    return torch.from_numpy(flat.astype(bool)).view(rows, columns)


def merge_lora(adapted: PeftModel, masks: Masks) -> PreTrainedModel:
    """The plain model with (W + sBA)*M in place of each masked matrix."""
    merged = adapted.merge_and_unload()  # pyright: ignore[reportCallIssue]
    assert isinstance(merged, PreTrainedModel), type(merged)
    masks.apply(merged)
    return merged
