"""From cosines to a graded likeness: which target, transform and layers follow the grades of people best.

Settings are chosen on training pairs alone; fitted weights (non-negative, with a ridge) are judged there on left-out folds.
The chosen setting is then measured once on other pairs.
"""

# P pairs, F features
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import rankdata

from tenfold.systems.activation.similarity import PairCosines, choose_layers

Floats = NDArray[np.float64]
RIDGES = (0.03, 0.3, 3.0)
FOLDS = 5
FEWEST_TO_FIT = 100
"""Training pairs below which nothing is fitted."""


@dataclass(frozen=True)
class Setting:
    """How cosines become one number a pair."""

    target: str
    transform: str
    layers: str
    """`all`, `deep`, `layer:K`, or fitted weights: `learned:layers`, `learned:blocks`."""
    ridge: float = 0.0

    @property
    def is_learned(self) -> bool:
        return self.layers.startswith("learned")


Features = Mapping[tuple[str, str], PairCosines]
"""By target and transform."""


@dataclass(frozen=True)
class Fitted:
    """A setting with its weights, and how well it did on the training pairs (left-out folds where it was fitted)."""

    setting: Setting
    weights_F: Floats
    train_spearman: float

    def scores(self, features: Features) -> Floats:
        """One number a pair; larger is more alike."""
        return columns(self.setting, features) @ self.weights_F


def columns(setting: Setting, features: Features) -> Floats:
    """[P, F]: what a setting weighs."""
    if setting.target == "both":
        names = [name for name in features if name[1] == setting.transform]
        return np.concatenate([_part(setting, features[name]) for name in names], axis=1)
    return _part(setting, features[setting.target, setting.transform])


def _part(setting: Setting, cosines: PairCosines) -> Floats:
    if setting.layers == "learned:blocks":
        return cosines.blocks
    if setting.is_learned:
        return cosines.layers
    return cosines.layers[:, choose_layers(setting.layers, cosines.layers.shape[1])]


def candidates(features: Features, num_layers: int, num_pairs: int) -> list[Setting]:
    """Every setting that can be tried with these features and so many training pairs."""
    names = ["all", "deep", *(f"layer:{layer}" for layer in range(num_layers))]
    found = [Setting(target, transform, name) for target, transform in features for name in names]
    if num_pairs < FEWEST_TO_FIT:
        return found
    transforms = dict.fromkeys(transform for _, transform in features)
    shared = [("both", transform) for transform in transforms if len({target for target, _ in features}) > 1]
    learned = ("learned:layers", "learned:blocks")
    fitted = [Setting(*name, kind, ridge) for name in [*features, *shared] for kind in learned for ridge in RIDGES]
    return found + [setting for setting in fitted if columns(setting, features).shape[1]]


def choose(features: Features, grades_P: Floats, num_layers: int) -> tuple[Fitted, list[Fitted]]:
    """(the best setting on the training pairs, all of them)."""
    fitted = [fit(setting, features, grades_P) for setting in candidates(features, num_layers, len(grades_P))]
    return max(fitted, key=lambda found: found.train_spearman), fitted


def fit(setting: Setting, features: Features, grades_P: Floats) -> Fitted:
    """Weights of a setting: equal ones, or fitted to the grades."""
    columns_PF = columns(setting, features)
    if not setting.is_learned:
        weights_F = np.full(columns_PF.shape[1], 1 / columns_PF.shape[1])
        return Fitted(setting, weights_F, spearman(columns_PF @ weights_F, grades_P))
    left_out = np.zeros(len(grades_P))
    for fold in range(FOLDS):
        inside = np.arange(len(grades_P)) % FOLDS != fold
        left_out[~inside] = columns_PF[~inside] @ _weights(columns_PF[inside], grades_P[inside], setting.ridge)
    return Fitted(setting, _weights(columns_PF, grades_P, setting.ridge), spearman(left_out, grades_P))


def _weights(columns_PF: Floats, grades_P: Floats, ridge: float) -> Floats:
    """Non-negative least squares on centred, scaled columns, with a ridge."""
    deviation_F = np.maximum(columns_PF.std(0), 1e-9)
    scaled_PF = (columns_PF - columns_PF.mean(0)) / deviation_F
    penalty_FF = np.sqrt(ridge * len(grades_P)) * np.eye(columns_PF.shape[1])
    rows = np.concatenate([scaled_PF, penalty_FF])
    wanted = np.concatenate([grades_P - grades_P.mean(), np.zeros(len(penalty_FF))])
    return nnls(rows, wanted, maxiter=50 * rows.shape[1])[0] / deviation_F


def spearman(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> float:
    """Rank correlation; NaN where one side does not vary."""
    a, b = (rankdata(side) - (len(side) + 1) / 2 for side in (first, second))
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else float("nan")
