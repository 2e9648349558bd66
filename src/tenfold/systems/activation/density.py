"""Density: the share of a layer's weights whose mean activation over texts lies above one threshold for all layers and sets.

The threshold comes from the data: `quantile:0.9` of all layers and sets together, the `knee` of the sorted activations, or
`absolute:2e-6` as in the paper's code. For intervals over texts a fixed random sample of the weights is kept for every text.
"""

# N texts, W sampled weights of a layer, L layers, R draws
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenfold.core.errors import ConfigError
from tenfold.nn.named_linears import NamedLinear
from tenfold.systems.activation.reducers import name_generator

Floats = NDArray[np.float64]
DRAWS = 300
PERCENTILES = (2.5, 97.5)
KNEE_POINTS = 2000


class WeightSample:
    """A reducer that keeps one weight in `share` of every matrix, the same ones for every text.

    Give the model's linear maps where some may not be reached by a text (experts): their numbers are then 0.
    """

    def __init__(self, share: int = 64, *, seed: int = 0, linears: Sequence[NamedLinear] = ()) -> None:
        self.share, self.seed = share, seed
        self.places: dict[int, dict[str, Tensor]] = {}
        self.values: dict[tuple[int, str], Tensor] = {}
        for linear in linears:
            self._places_of(linear)

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None:
        self.values[text, linear.name] = a_OI.flatten()[self._places_of(linear)].float().clone()

    def vector(self, text: int, layer: int) -> Tensor:
        """[W] of one layer, matrices in order of their names."""
        places = sorted(self.places[layer].items())
        return torch.cat([self.values.get((text, name), torch.zeros(len(picked))) for name, picked in places])

    def layers(self, num_texts: int) -> list[Tensor]:
        """[N, W] of each layer."""
        return [torch.stack([self.vector(text, layer) for text in range(num_texts)]) for layer in sorted(self.places)]

    def _places_of(self, linear: NamedLinear) -> Tensor:
        known = self.places.setdefault(linear.layer, {})
        if linear.name not in known:
            size = linear.weight_OI.numel()
            generator = name_generator(self.seed, linear.name)
            known[linear.name] = torch.randint(0, size, (max(1, size // self.share),), generator=generator)
        return known[linear.name]


def threshold(means: Sequence[Tensor], rule: str) -> float:
    """One threshold for the mean activations of all layers (and sets) given.

    Raises:
        ConfigError: an unknown rule.
    """
    word, _, number = rule.partition(":")
    values = torch.cat([mean_W.flatten() for mean_W in means]).double().numpy()
    if word == "knee" and not number:
        return knee(values)
    try:
        if word == "quantile" and 0 < float(number) < 1:
            return float(np.quantile(values, float(number)))
        if word == "absolute" and float(number) > 0:
            return float(number)
    except ValueError:
        pass
    raise ConfigError(f"threshold is {rule!r}; accepted are quantile:0.9, knee, and absolute:2e-6")


def knee(values: Floats) -> float:
    """Where the curve of sorted activations, largest first on a log scale, lies farthest from the line between its ends."""
    positive = np.log10(values[values > 0])
    curve = np.quantile(positive, np.linspace(1, 0, KNEE_POINTS))
    line = np.linspace(curve[0], curve[-1], KNEE_POINTS)
    return float(10 ** curve[np.abs(curve - line).argmax()])


def density(mean_W: Tensor, limit: float) -> float:
    """Share of the weights above the threshold."""
    return float((mean_W > limit).double().mean())


@dataclass(frozen=True)
class DensityCurve:
    """Density by layer [L], and the same in each draw of the texts [R, L]."""

    values: Floats
    draws: Floats

    @property
    def intervals(self) -> list[list[float]]:
        """95 % over texts, for each layer."""
        return np.percentile(self.draws, PERCENTILES, axis=0).T.tolist()


def curve(layers: Sequence[Tensor], limit: float, *, draws: int = DRAWS, seed: int = 0) -> DensityCurve:
    """Density of each layer from its sampled activations [N, W], with texts drawn anew `draws` times."""
    num_texts = len(layers[0])
    counts_RN = np.random.default_rng(seed).multinomial(num_texts, [1 / num_texts] * num_texts, size=draws)
    weights_RN = torch.from_numpy(counts_RN / num_texts).float()
    drawn = [((weights_RN @ values_NW) > limit).double().mean(1).numpy() for values_NW in layers]
    return DensityCurve(np.array([density(values_NW.mean(0), limit) for values_NW in layers]), np.stack(drawn, axis=1))


def equal_sets(sets: Mapping[str, Sequence[Tensor]]) -> dict[str, list[Tensor]]:
    """The sets cut to the size of the smallest, so that a joint quantile weighs them alike."""
    fewest = min(len(layers[0]) for layers in sets.values())
    return {name: [values_NW[:fewest] for values_NW in layers] for name, layers in sets.items()}
