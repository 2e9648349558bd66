"""How much of each layer to prune: from one signal a layer to a plan whose mean is exactly the sparsity that was asked for.

`S_l = clip(S - strength * z_l + c, 0, 0.98)`, with z the signal less its mean over its largest deviation, and c found by
bisection so that the mean over weights is S. A layer with a high signal keeps more. Signals are plain lists; a plan may
blend several with weights of either sign, or come from a file.
"""

# L layers
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tenfold.core.errors import ConfigError, MissingArtifactError

Floats = NDArray[np.float64]
MOST = 0.98
"""Of no layer more than this share is pruned."""
EXACT = 1e-4
PAPER_STRENGTH = 0.05
OWL_STRENGTH = 0.08


@dataclass(frozen=True)
class Plan:
    """The sparsity of each layer, and how it came about."""

    name: str
    layers: tuple[float, ...]
    strength: float = 0.0
    blend: Mapping[str, float] = field(default_factory=dict)
    """Weight of each signal."""

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "layers": list(self.layers), "strength": self.strength, "blend": dict(self.blend)}


def check_sparsity(sparsity: float) -> float:
    """The sparsity itself, or ConfigError outside (0, .98]."""
    if not 0 < sparsity <= MOST:
        raise ConfigError(f"sparsity is {sparsity}; accepted is more than 0 and at most {MOST}")
    return sparsity


def uniform(sparsity: float, num_layers: int) -> Plan:
    """The same for every layer."""
    return Plan("uniform", (check_sparsity(sparsity),) * num_layers)


def allocate(
    name: str,
    sparsity: float,
    blend: Mapping[str, float],
    signals: Mapping[str, Sequence[float]],
    strength: float,
    sizes: Sequence[int],
) -> Plan:
    """A plan from weighted signals.

    Args:
        blend: weight of each signal, of either sign.
        signals: by name, one number a layer.
        sizes: weights of each layer.
    """
    check_sparsity(sparsity)
    total_L = sum((weight * standardised(signals[key]) for key, weight in blend.items()), start=np.zeros(len(sizes)))
    wanted_L = sparsity - strength * standardised(total_L)
    return Plan(name, tuple(shifted(wanted_L, sparsity, sizes).tolist()), strength, dict(blend))


def standardised(signal_L: Sequence[float] | Floats) -> Floats:
    """The signal less its mean, over its largest deviation; zeros if it does not vary."""
    centred_L = np.asarray(signal_L, dtype=np.float64) - np.mean(signal_L)
    largest = np.abs(centred_L).max()
    return centred_L / largest if largest > 0 else centred_L


def shifted(wanted_L: Floats, sparsity: float, sizes: Sequence[int]) -> Floats:
    """The wanted sparsities, all moved by one number and clipped, so that their mean over weights is `sparsity`."""
    weights_L = np.asarray(sizes) / np.sum(sizes)
    low, high = -MOST - np.abs(wanted_L).max(), MOST + np.abs(wanted_L).max()
    for _ in range(100):
        middle = (low + high) / 2
        too_much = float(np.clip(wanted_L + middle, 0, MOST) @ weights_L) > sparsity
        low, high = (low, middle) if too_much else (middle, high)
    return np.clip(wanted_L + (low + high) / 2, 0, MOST)


def read_plan(path: Path, sparsity: float, sizes: Sequence[int]) -> Plan:
    """A plan from a file: a JSON list of sparsities, or a `plan.json` of ours.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: it is no plan, has another number of layers, or another mean.
    """
    if not path.is_file():
        raise MissingArtifactError(f"no plan at {str(path)!r}; give a JSON list with one sparsity a layer")
    content = json.loads(path.read_text(encoding="utf-8"))
    layers = content.get("layers") if isinstance(content, dict) else content
    if not isinstance(layers, list) or len(layers) != len(sizes):
        raise ConfigError(f"{path} does not hold one sparsity for each of the {len(sizes)} layers")
    mean = float(np.dot(layers, sizes) / np.sum(sizes))
    if min(layers) < 0 or max(layers) > MOST or abs(mean - sparsity) > EXACT:
        raise ConfigError(f"{path}: the mean over weights is {mean:.4f} and must be {sparsity}, each within 0 and {MOST}")
    return Plan(f"table:{path.name}", tuple(map(float, layers)))


def depth_signal(num_layers: int) -> list[float]:
    """Falls with depth, so that deep layers are pruned more."""
    return [-float(layer) for layer in range(num_layers)]
