"""Signatures: a text's pattern as one vector a layer, kept in a folder that grows and is never computed twice.

`rowcol` keeps the sums of |w * dD/dw| over the inputs and over the outputs of each matrix, `sketch` a count sketch whose
inner products are those of the whole pattern without bias, `sample` the same random weights of every text. Numbers are
fp16 with one fp32 scale a text and layer, so nothing underflows. The folder holds `signatures.json` (what they are of),
`index.jsonl` (id, set, sha256, tokens, file, row) and shards.
"""

# N texts, L layers, K numbers a layer
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tenfold.core import jsonl
from tenfold.core.config import canonical_json
from tenfold.core.errors import UserError
from tenfold.nn.named_linears import named_linears
from tenfold.store import atomic
from tenfold.store.progress import track
from tenfold.systems.activation import targets
from tenfold.systems.activation.collect import collect
from tenfold.systems.activation.data import Piece
from tenfold.systems.activation.density import WeightSample
from tenfold.systems.activation.opened import OpenedModel, sorted_by_length
from tenfold.systems.activation.reducers import CountSketch, RowColumnSums

Kind = Literal["rowcol", "sketch", "sample"]
BUCKETS = 4096
SHARD = 32
"""Texts a file; at most so many are computed again after a kill."""
BATCH_TOKENS = 256
SEED = 0
SignatureReducer = RowColumnSums | CountSketch | WeightSample


@dataclass(frozen=True)
class Block:
    """The part of a layer's `rowcol` vector that belongs to one side of one matrix."""

    layer: int
    kind: str
    side: Literal["outputs", "inputs"]
    start: int
    stop: int


def blocks_of(opened: OpenedModel) -> list[Block]:
    """Where each matrix lies in the vectors of its layer."""
    found: list[Block] = []
    for layer in range(opened.num_layers):
        place = 0
        for linear in sorted((x for x in named_linears(opened.model) if x.layer == layer), key=lambda x: x.kind):
            outputs, inputs = linear.weight_OI.shape
            found.append(Block(layer, linear.kind, "outputs", place, place + outputs))
            found.append(Block(layer, linear.kind, "inputs", place + outputs, place + outputs + inputs))
            place += outputs + inputs
    return found


class Signatures:
    """The signatures of some texts: vectors layer by layer, read when asked for."""

    def __init__(self, folder: "SignatureFolder", entries: Sequence[Mapping[str, Any]]) -> None:
        self.folder, self.entries = folder, list(entries)

    @property
    def num_layers(self) -> int:
        return self.folder.about["layers"]

    def layer(self, number: int) -> Tensor:
        """[N, K] in float32, in the order of the texts asked for."""
        rows: list[Tensor] = []
        files = {entry["file"] for entry in self.entries}
        shards = {name: self.folder.read(name, number) for name in files}
        for entry in self.entries:
            vector_K, scale = (part[entry["row"]] for part in shards[entry["file"]])
            rows.append(vector_K.float() * scale)
        return torch.stack(rows)


class SignatureFolder:
    """Signatures of one model, target and kind on disk.

    Raises:
        UserError: the folder holds signatures of another model, target or kind.
    """

    def __init__(self, path: Path, opened: OpenedModel, target: str, kind: Kind, *, buckets: int = BUCKETS) -> None:
        self.path, self.opened, self.target, self.kind = path, opened, target, kind
        self.about = {
            "model": opened.name,
            "weights": opened.digest,
            "target": target,
            "kind": kind,
            "layers": opened.num_layers,
            "buckets": buckets if kind != "rowcol" else None,
            "seed": SEED if kind != "rowcol" else None,
        }
        path.mkdir(parents=True, exist_ok=True)
        if (path / "signatures.json").is_file():
            kept = json.loads((path / "signatures.json").read_text(encoding="utf-8"))
            differing = [key for key, value in self.about.items() if key != "model" and kept.get(key) != value]
            if differing:
                raise UserError(
                    f"{path} holds signatures of another {', '.join(differing)}; take another folder, or the same settings"
                )
        else:
            atomic.write_json(path / "signatures.json", self.about)
        self.index: dict[str, Mapping[str, Any]] = {row["sha256"]: row for row in jsonl.recover(path / "index.jsonl")}

    @cached_property
    def blocks(self) -> list[Block]:
        return blocks_of(self.opened)

    def of(self, pieces: Sequence[Piece], label: str = "Texts") -> Signatures:
        """Signatures of the pieces in their order; computes those that the folder does not hold."""
        fill([self], pieces, label)
        return Signatures(self, [self.index[text_digest(piece.ids)] for piece in pieces])

    def read(self, file: str, layer: int) -> tuple[Tensor, Tensor]:
        """Vectors [n, K] in fp16 and scales [n] of one shard."""
        with safe_open(self.path / file, framework="pt") as tensors:
            return tensors.get_tensor(f"layer.{layer}"), tensors.get_tensor("scales")[:, layer]

    def reducer(self) -> SignatureReducer:
        """A fresh reducer of this folder's kind."""
        linears, buckets = named_linears(self.opened.model), self.about["buckets"]
        if self.kind == "rowcol":
            return RowColumnSums(linears)
        if self.kind == "sketch":
            return CountSketch(buckets, seed=SEED)
        total = sum(linear.weight_OI.numel() for linear in linears)
        return WeightSample(max(1, total // (buckets * self.opened.num_layers)), seed=SEED, linears=linears)

    def keep(self, pieces: Sequence[Piece], reducer: SignatureReducer) -> None:
        """Writes what a reducer saw of these pieces, in one shard."""
        name = f"signatures-{len(list(self.path.glob('signatures-*.safetensors'))):05}.safetensors"
        atomic.write_file(self.path / name, lambda scratch: save_file(self._tensors(reducer.vector, len(pieces)), scratch))
        for row, piece in enumerate(pieces):
            digest = text_digest(piece.ids)
            entry = {
                "id": piece.key,
                "set": piece.domain,
                "sha256": digest,
                "tokens": len(piece.ids),
                "file": name,
                "row": row,
            }
            jsonl.append(self.path / "index.jsonl", entry)
            self.index[digest] = entry

    def _tensors(self, vector: Callable[[int, int], Tensor], count: int) -> dict[str, Tensor]:
        layers, scales = {}, []
        for layer in range(self.opened.num_layers):
            vectors_NK = torch.stack([vector(text, layer).float() for text in range(count)])
            scale_N = vectors_NK.abs().amax(1).clamp_min(1e-30)
            layers[f"layer.{layer}"] = (vectors_NK / scale_N[:, None]).half()
            scales.append(scale_N)
        return {**layers, "scales": torch.stack(scales, dim=1)}


def fill(folders: Sequence[SignatureFolder], pieces: Sequence[Piece], label: str = "Texts") -> None:
    """Computes, in one pass a text, what any of these folders of one model and target lacks."""
    (target,) = {folder.target for folder in folders}
    wanted = {text_digest(piece.ids): piece for piece in pieces}
    missing = [piece for digest, piece in wanted.items() if any(digest not in folder.index for folder in folders)]
    order = sorted_by_length([piece.ids for piece in missing])
    shards = [[missing[place] for place in order[start : start + SHARD]] for start in range(0, len(order), SHARD)]
    for shard in track(shards, f"{label}, {target}") if shards else ():
        reducers = [folder.reducer() for folder in folders]
        ids = [piece.ids for piece in shard]
        batch_size = max(1, BATCH_TOKENS // max(map(len, ids)))
        collect(folders[0].opened.model, ids, targets.find(target), reducers, batch_size=batch_size)
        for folder, reducer in zip(folders, reducers, strict=True):
            if any(text_digest(each) not in folder.index for each in ids):
                folder.keep(shard, reducer)


def text_digest(ids: Sequence[int]) -> str:
    """What names a text: the sha256 of its token ids."""
    return hashlib.sha256(canonical_json(list(ids)).encode()).hexdigest()
