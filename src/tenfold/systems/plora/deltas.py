"""The delta ledger: everything that was ever unloaded, as fp32 factors on disk. The base weights are never edited.

    ledger/base.json                 model, dtype, sha256 of each target matrix
    ledger/stage_0001.safetensors    <matrix>.A (r x d_in), <matrix>.B (d_out x r) with the scale folded in
                                     metadata: step, mode, m, ... and the sha256 of the file before it

A compute weight is always rebuilt whole, `round(W0 + [B1..Bt] [A1..At])`: one fp32 product in a fixed order and one
rounding. So errors never add up, and a rebuild after a kill gives the same bits.
"""

# O outputs, I inputs, R stacked ranks
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tenfold.core.errors import ConfigError, UserError
from tenfold.store import atomic
from tenfold.store.artifacts import sha256

Piece = tuple[Tensor, Tensor]
"""(A, B) of one matrix: fp32, the scale folded into B."""


class LedgerError(UserError):
    """A ledger that does not fit its base, or whose chain of checksums is broken."""


@dataclass(frozen=True)
class Stage:
    """One unload: its number from 1, and what was said of it."""

    number: int
    meta: dict[str, Any]


class DeltaLedger:
    """The stages of one run, in a folder. `dropped` stages stay on disk but do not count in a fold."""

    def __init__(self, folder: Path, *, dropped: frozenset[int] = frozenset()) -> None:
        self.folder = folder
        self.dropped = dropped
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return len(self.files())

    def files(self) -> list[Path]:
        """The stage files, oldest first."""
        return sorted(self.folder.glob("stage_*.safetensors"))

    def stages(self) -> list[Stage]:
        """What is known of each stage."""
        return [Stage(number, self._meta(path)) for number, path in enumerate(self.files(), 1)]

    def bind(self, model: str, dtype: str, checksums: Mapping[str, str]) -> None:
        """Writes down which base the stages belong to, or checks that it is the same.

        Raises:
            LedgerError: the ledger belongs to other weights.
        """
        path = self.folder / "base.json"
        base = {"model": model, "dtype": dtype, "sha256": dict(checksums)}
        if not path.exists():
            atomic.write_json(path, base)
            return
        known = json.loads(path.read_text(encoding="utf-8"))["sha256"]
        changed = [name for name in sorted(known.keys() | checksums.keys()) if known.get(name) != checksums.get(name)]
        if changed:
            raise LedgerError(
                f"{self.folder} belongs to other base weights ({len(changed)} matrices differ, the first is {changed[0]}); "
                "use the base it was made with, or another folder"
            )

    def append(self, pieces: Mapping[str, Piece], meta: Mapping[str, Any]) -> int:
        """Makes a stage durable and returns its number; a killed process leaves it whole or not at all."""
        files = self.files()
        number = len(files) + 1
        tensors = {
            f"{name}.{part}": tensor.contiguous()
            for name, piece in pieces.items()
            for part, tensor in zip("AB", piece, strict=True)
        }
        described = {"tenfold": json.dumps(dict(meta) | {"previous": self._checksum(files)})}
        path = self.folder / f"stage_{number:04d}.safetensors"
        atomic.write_file(path, lambda scratch: save_file(tensors, scratch, metadata=described))
        return number

    def truncate(self, count: int) -> None:
        """Forgets all stages after the first `count`."""
        for path in reversed(self.files()[count:]):
            path.unlink()

    def pieces(self, name: str) -> list[Piece]:
        """The pieces of one matrix, oldest first, without the dropped stages."""
        return [
            piece
            for number in range(1, len(self) + 1)
            if number not in self.dropped
            for piece in self.stage_pieces(number, name)
        ]

    def stacked(self, name: str) -> Piece | None:
        """[A1..At] over rows and [B1..Bt] over columns; None before the first stage."""
        pieces = self.pieces(name)
        if not pieces:
            return None
        return torch.cat([a for a, _ in pieces]), torch.cat([b for _, b in pieces], dim=1)

    def fold(self, name: str, base_OI: Tensor, *, extra: Sequence[Piece] = ()) -> Tensor:
        """`round(W0 + S)` of one matrix in the base's own type, on the base's device; `extra` pieces count too."""
        pieces = [*self.pieces(name), *extra]
        if not pieces:
            return base_OI
        a_RI = torch.cat([a for a, _ in pieces]).to(base_OI.device)
        b_OR = torch.cat([b for _, b in pieces], dim=1).to(base_OI.device)
        return torch.addmm(base_OI.float(), b_OR, a_RI).to(base_OI.dtype)

    def verify(self) -> int:
        """Checks the chain of checksums and that every file can be read; returns the number of stages.

        Raises:
            LedgerError: names the first broken stage, and how to go on from the one before.
        """
        files = self.files()
        for place, path in enumerate(files):
            try:
                named, linked = (
                    path.stem == f"stage_{place + 1:04d}",
                    self._meta(path)["previous"] == self._checksum(files[:place]),
                )
            except Exception as error:  # whatever a damaged file makes safetensors raise
                raise self._broken(place, str(error)) from None
            if not (named and linked):
                raise self._broken(place, "it does not follow from the stage before")
        return len(files)

    def _broken(self, place: int, reason: str) -> LedgerError:
        return LedgerError(
            f"{self.folder}: stage {place + 1} is broken ({' '.join(reason.split())[:120]}); "
            f"`tenfold plora stages --run RUN --keep {place}` goes back to the stages before it"
        )

    def _checksum(self, files: Sequence[Path]) -> str:
        """Of the newest file, or of the base where there is none."""
        newest = files[-1] if files else self.folder / "base.json"
        return sha256(newest) if newest.exists() else ""

    def _meta(self, path: Path) -> dict[str, Any]:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["tenfold"])

    def matrices(self) -> list[str]:
        """The names of the target matrices, as `base.json` has them."""
        return list(json.loads((self.folder / "base.json").read_text(encoding="utf-8"))["sha256"])

    def stage_pieces(self, number: int, name: str) -> list[Piece]:
        """The piece of one matrix in one stage; none where the stage left the matrix out."""
        with safe_open(self.folder / f"stage_{number:04d}.safetensors", framework="pt") as file:
            if f"{name}.A" not in file.keys():  # noqa: SIM118 safe_open is no mapping
                return []
            return [(file.get_tensor(f"{name}.A"), file.get_tensor(f"{name}.B"))]


def parse_stages(text: str, count: int) -> frozenset[int]:
    """Stage numbers from `3,5`; ConfigError where one is no stage."""
    try:
        numbers = frozenset(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"cannot read stages {text!r}; write their numbers, for example 3,5") from None
    wrong = sorted(number for number in numbers if not 1 <= number <= count)
    if wrong:
        raise ConfigError(f"there is no stage {wrong[0]}; this run has stages 1 to {count}")
    return numbers
