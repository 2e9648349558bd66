"""The verb `similar`: the N x N likeness of texts from N backward passes, and the nearest texts of each.

Signatures go into a folder that later calls add to, so a text is computed once. `exact_texts` measures the error of the
sketch: cosines of whole patterns beside those of the sketches.
"""

# N texts, L layers
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor

from tenfold.core import jsonl
from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError, UserError
from tenfold.core.records import Metrics
from tenfold.nn.named_linears import NamedLinear
from tenfold.store import atomic
from tenfold.store.runs import Run
from tenfold.systems.activation import data, targets
from tenfold.systems.activation.collect import collect
from tenfold.systems.activation.data import OWN, Piece
from tenfold.systems.activation.opened import OpenedModel, open_model
from tenfold.systems.activation.signature import Kind, SignatureFolder
from tenfold.systems.activation.similarity import Transform, similarity_by_layer, similarity_matrix

Floats = NDArray[np.float64]
NEAREST = 5


class SimilarConfig(Config):
    """Compare texts by their patterns: all pairs, from one pass a text."""

    model: str = "smollm2"
    """Model: smollm2, stories260k, a folder, a .gguf file or a hub id."""
    file: Path | None = None
    """JSONL of {"id", "text"}; without it, texts of the domains are compared."""
    texts: str = OWN
    """Where the domains' texts come from: own, shared, or a folder of DOMAIN.txt files."""
    domains: Names = data.DOMAINS
    """Domains to take texts of."""
    per_domain: int = Field(default=20, ge=1)
    """Texts of each domain."""
    tokens: int = Field(default=24, ge=2)
    """At most so many tokens of a text."""
    target: str = "mean_max"
    """Scalar of the output: mean_max, last_max, nll."""
    kind: Kind = "sketch"
    """Signatures: sketch (whole patterns), rowcol or sample (for the log-ratio)."""
    transform: Transform = "raw"
    """raw cosines, or the logratio to the mean of all texts."""
    layers: str = "deep"
    """Layers that count: all, deep, shallow, layer:K."""
    buckets: int = Field(default=4096, ge=16)
    """Numbers a layer in a sketch."""
    index: Path | None = None
    """Folder of signatures to use and add to; the run's own by default."""
    exact_texts: int = Field(default=0, ge=0, le=64)
    """Compare the cosines of so many texts with those of their whole patterns."""


def run_similar(config: SimilarConfig, run: Run) -> Metrics:
    """Computes what the folder lacks, then all pairs."""
    targets.find(config.target)
    opened = open_model(config.model)
    pieces = _pieces(config, opened)
    folder = SignatureFolder(
        config.index or run.folder / "signatures", opened, config.target, config.kind, buckets=config.buckets
    )
    known, start = len(folder.index), time.perf_counter()
    signatures = folder.of(pieces)
    passes, seconds = len(folder.index) - known, time.perf_counter() - start
    start = time.perf_counter()
    background = signatures if config.transform == "logratio" else None
    matrix_NN = similarity_matrix(signatures, config.layers, transform=config.transform, background=background)
    kept = {"similarity": torch.from_numpy(matrix_NN).float()}
    atomic.write_file(run.folder / "similarity.safetensors", lambda scratch: save_file(kept, scratch))
    for place, piece in enumerate(pieces):
        if piece.key not in run.rows:
            run.add(piece.key, {"set": piece.domain, "nearest": _nearest(matrix_NN, place, pieces)})
    return {
        "model": config.model,
        "texts": len(pieces),
        "passes": passes,
        "pass_seconds": seconds,
        "matrix_seconds": time.perf_counter() - start,
        "pairs": len(pieces) ** 2,
        "nearest_same_set": _nearest_same(matrix_NN, pieces),
        "sketch_error": _sketch_error(config, opened, folder, pieces[: config.exact_texts]) if config.exact_texts else None,
    }


def _pieces(config: SimilarConfig, opened: OpenedModel) -> list[Piece]:
    if config.file is None:
        sets = [(name, data.load_texts(config.texts, name)) for name in config.domains]
        cut = [data.cut(opened, texts, name, tokens=config.tokens, count=config.per_domain) for name, texts in sets]
        found = [piece for pieces in cut for piece in pieces]
    else:
        try:
            rows = [(str(row["id"]), str(row.get("set", "")), str(row["text"])) for row in jsonl.read(config.file)]
        except (KeyError, TypeError, AttributeError):
            raise ConfigError(f'{config.file}: a line lacks "id" or "text"; {{"id", "text"}} objects are accepted') from None
        found = [Piece(key, name, tuple(opened.ids(text, config.tokens))) for key, name, text in rows]
    if len(found) < 2:
        raise UserError(f"there are {len(found)} texts; give at least two to compare")
    return found


def _nearest(matrix_NN: Floats, place: int, pieces: Sequence[Piece]) -> list[list[Any]]:
    order = [other for other in matrix_NN[place].argsort()[::-1].tolist() if other != place][:NEAREST]
    return [[pieces[other].key, round(float(matrix_NN[place, other]), 5)] for other in order]


def _nearest_same(matrix_NN: Floats, pieces: Sequence[Piece]) -> float:
    """Share of texts whose nearest other text is of the same set."""
    others_NN = matrix_NN - 2 * np.eye(len(matrix_NN))
    return float(
        np.mean([pieces[int(row.argmax())].domain == piece.domain for row, piece in zip(others_NN, pieces, strict=True)])
    )


class ExactProducts:
    """A reducer: inner products of the whole patterns of a few texts, layer by layer, one matrix alive at a time."""

    def __init__(self, num_texts: int) -> None:
        self.num_texts = num_texts
        self.products: dict[int, Tensor] = {}
        self._waiting: dict[str, list[Tensor]] = {}

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None:
        waiting = self._waiting.setdefault(linear.name, [])
        waiting.append(a_OI.flatten().clone())
        if len(waiting) == self.num_texts:
            rows_NW = torch.stack(self._waiting.pop(linear.name)).double()
            products = self.products.setdefault(
                linear.layer, torch.zeros(self.num_texts, self.num_texts, dtype=torch.float64)
            )
            products += rows_NW @ rows_NW.T

    def cosines(self, layer: int) -> Floats:
        products_NN = self.products[layer]
        norms_N = products_NN.diagonal().sqrt()
        return (products_NN / norms_N[:, None] / norms_N[None, :]).numpy()


def _sketch_error(
    config: SimilarConfig, opened: OpenedModel, folder: SignatureFolder, pieces: Sequence[Piece]
) -> dict[str, float]:
    """Mean and largest |cosine of sketches - cosine of whole patterns| over layers and pairs."""
    exact = ExactProducts(len(pieces))
    ids = [piece.ids for piece in pieces]
    collect(opened.model, ids, targets.find(config.target), [exact], batch_size=len(pieces))
    upper = np.triu_indices(len(pieces), 1)
    matrices = similarity_by_layer(folder.of(pieces))
    errors = [np.abs(matrix - exact.cosines(layer))[upper] for layer, matrix in enumerate(matrices)]
    return {"mean": float(np.mean(errors)), "largest": float(np.max(errors)), "pairs": len(upper[0]), "layers": len(errors)}


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{metrics['model']}: {metrics['pairs']} likenesses of {metrics['texts']} texts from {metrics['passes']} passes"
        f" in {metrics['pass_seconds']:.0f} s, and {metrics['matrix_seconds']:.1f} s for the products",
        f"the nearest text is of the same set for {metrics['nearest_same_set']:.1%}",
    ]
    if metrics["sketch_error"]:
        error = metrics["sketch_error"]
        lines.append(f"error of a cosine from sketches: {error['mean']:.4f} on average, {error['largest']:.4f} at most")
    return "\n".join(lines)
