"""Paired comparisons of models that were measured on the same documents with the same seeds. Sums come in, intervals go out.

Documents and seeds are both drawn anew: a difference that rests on one document or one lucky start gets a wide interval.
With one seed only, the interval knows nothing of the luck of a start.
"""

# U units (seeds), C documents, R draws, M models
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.evals.statistics.estimate import Estimate

Floats = NDArray[np.float64]
NUM_DRAWS = 4000
PERCENTILES = (2.5, 97.5)


class LossTable:
    """Summed losses of each model by seed and document; all models share the documents' numbers of tokens."""

    def __init__(self, totals: Mapping[str, Sequence[Sequence[float]]], tokens: Sequence[float], *, seed: int = 0) -> None:
        self.totals_UC = {name: np.asarray(rows, dtype=np.float64) for name, rows in totals.items()}
        self.tokens_C = np.asarray(tokens, dtype=np.float64)
        units, documents = next(iter(self.totals_UC.values())).shape
        generator = np.random.default_rng(seed)
        self.units_RU = generator.integers(units, size=(NUM_DRAWS, units))
        self.documents_RC = generator.integers(documents, size=(NUM_DRAWS, documents))

    def loss(self, name: str) -> float:
        """Nats per token, over seeds and documents."""
        return float(self.totals_UC[name].mean(0).sum() / self.tokens_C.sum())

    def estimate(self, statistic: Callable[..., float | Floats], *names: str) -> Estimate:
        """A function of the losses of these models, with its interval."""
        low, high = np.percentile(statistic(*(self._drawn(name) for name in names)), PERCENTILES)
        return Estimate(float(statistic(*(self.loss(name) for name in names))), float(low), float(high))

    def _drawn(self, name: str) -> Floats:
        weight_RU = _weights(self.units_RU, len(self.totals_UC[name]))
        weight_RC = _weights(self.documents_RC, len(self.tokens_C))
        totals_R = np.einsum("ru,uc,rc->r", weight_RU / weight_RU.sum(1, keepdims=True), self.totals_UC[name], weight_RC)
        return totals_R / (weight_RC @ self.tokens_C)


def _weights(drawn_RX: NDArray[np.intp], count: int) -> Floats:
    """How often each of `count` things was drawn, [R, count]."""
    rows = np.arange(len(drawn_RX))[:, None] * count
    flat = np.bincount((drawn_RX + rows).ravel(), minlength=len(drawn_RX) * count)
    return flat.reshape(len(drawn_RX), count).astype(np.float64)
