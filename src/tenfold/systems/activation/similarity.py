"""How alike two texts are to a model: the cosine of their patterns, layer by layer, or of what sets them apart.

Every pattern has much in common with every other: the same large weights matter to all texts. The log-ratio to a background,
`log1p(a / mu) - m`, with mu and m the means of a and of the logarithm over background texts, takes that out. Which layers
count is a choice: `all`, `deep` (from half way to the third from last, as in the paper's code), `shallow`, or `layer:K`.
"""

# N texts, P pairs, L layers, K numbers of a layer, B blocks
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tenfold.core.errors import ConfigError
from tenfold.systems.activation.signature import Block, Signatures

Transform = Literal["raw", "logratio"]
FLOOR = 1e-12
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Background:
    """What the texts of one layer have in common: the mean pattern and the mean logarithm, each [K]."""

    mean_K: Tensor
    log_K: Tensor

    @staticmethod
    def of(vectors_NK: Tensor) -> "Background":
        mean_K = vectors_NK.mean(0)
        return Background(mean_K, torch.log1p(vectors_NK / (mean_K + FLOOR)).mean(0))

    def ratio(self, vectors_NK: Tensor) -> Tensor:
        """The log-ratio of each vector."""
        return torch.log1p(vectors_NK / (self.mean_K + FLOOR)) - self.log_K


def layer_vectors(texts: Signatures, transform: Transform, background: Signatures | None) -> Iterator[Tensor]:
    """[N, K] of each layer in turn, transformed.

    Raises:
        ConfigError: the log-ratio of a sketch, whose numbers have signs; or without a background.
    """
    if transform == "logratio" and (background is None or texts.folder.kind == "sketch"):
        raise ConfigError(
            "the log-ratio needs a background and signatures of kind rowcol or sample; take transform=raw for a sketch"
        )
    for layer in range(texts.num_layers):
        vectors_NK = texts.layer(layer)
        if transform == "logratio":
            assert background is not None
            vectors_NK = Background.of(background.layer(layer)).ratio(vectors_NK)
        yield vectors_NK


@dataclass(frozen=True)
class PairCosines:
    """Cosines of pairs: by layer [P, L] and by block [P, B]."""

    layers: Floats
    blocks: Floats


def pair_cosines(
    texts: Signatures,
    pairs: Sequence[tuple[int, int]],
    *,
    transform: Transform = "raw",
    background: Signatures | None = None,
    blocks: Sequence[Block] = (),
) -> PairCosines:
    """The cosine of each pair (two places among the texts) in each layer, and in each of the blocks."""
    first, second = (torch.tensor(side) for side in zip(*pairs, strict=True))
    layers: list[Floats] = []
    parts: dict[Block, Floats] = {}
    for number, vectors_NK in enumerate(layer_vectors(texts, transform, background)):
        layers.append(_cosines(vectors_NK, first, second))
        for block in (block for block in blocks if block.layer == number):
            parts[block] = _cosines(vectors_NK[:, block.start : block.stop], first, second)
    empty = np.zeros((len(pairs), 0))
    return PairCosines(np.stack(layers, axis=1), np.stack([parts[b] for b in blocks], axis=1) if blocks else empty)


def _cosines(vectors_NK: Tensor, first: Tensor, second: Tensor) -> Floats:
    unit_NK = functional.normalize(vectors_NK, dim=1)
    return (unit_NK[first] * unit_NK[second]).sum(1).double().numpy()


def similarity_by_layer(
    texts: Signatures, *, transform: Transform = "raw", background: Signatures | None = None
) -> Iterator[Floats]:
    """The N x N matrix of cosines of each layer in turn: N passes, N * N products."""
    for vectors_NK in layer_vectors(texts, transform, background):
        unit_NK = functional.normalize(vectors_NK, dim=1)
        yield (unit_NK @ unit_NK.T).double().numpy()


def similarity_matrix(
    texts: Signatures, layers: str, *, transform: Transform = "raw", background: Signatures | None = None
) -> Floats:
    """The mean N x N matrix over the layers of a choice."""
    chosen = set(choose_layers(layers, texts.num_layers))
    matrices = similarity_by_layer(texts, transform=transform, background=background)
    kept = [matrix for number, matrix in enumerate(matrices) if number in chosen]
    return np.mean(kept, axis=0)


def choose_layers(choice: str, count: int) -> list[int]:
    """Layer numbers of `all`, `deep`, `shallow` (the first half) or `layer:K` (from 0).

    Raises:
        ConfigError: another word, or there is no such layer.
    """
    if choice == "all":
        return list(range(count))
    if choice == "deep":
        return list(range(count // 2, max(count // 2 + 1, count - 2)))
    if choice == "shallow":
        return list(range(max(1, count // 2)))
    word, _, number = choice.partition(":")
    if word == "layer" and number.isdigit() and int(number) < count:
        return [int(number)]
    raise ConfigError(f"layers is {choice!r}; accepted are all, deep, shallow, and layer:0 to layer:{count - 1}")
