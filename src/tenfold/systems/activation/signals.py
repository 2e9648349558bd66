"""One number a layer, by which its sparsity is chosen: density, outliers, depth, the tails of its spectra.

last_max, mean_max, nll   density (the paper's way) of that target's patterns on the calibration texts
owl                       share of abs(W) * norm2(X) above M times the layer's mean, M = 5      (2310.05175)
alpha                     heavy-tailed spectra, by Hill's estimator                              (2410.10912)
depth                     falls with depth, so that deep layers are pruned more
"""

# L layers, O outputs, I inputs
from collections.abc import Sequence

import torch
from torch import Tensor

from tenfold.core.errors import UnknownNameError
from tenfold.nn.named_linears import NamedLinear, named_linears
from tenfold.systems.activation import allocate, density, targets
from tenfold.systems.activation.collect import collect
from tenfold.systems.activation.density import WeightSample
from tenfold.systems.activation.opened import OpenedModel
from tenfold.systems.activation.walk import InputStatistics, walk

OUTLIER = 5.0
THRESHOLD = "quantile:0.9"
NAMES = (*targets.TARGETS, "owl", "alpha", "depth")


def signal(name: str, opened: OpenedModel, texts: Sequence[Sequence[int]]) -> list[float]:
    """A signal by name, one number a layer.

    Raises:
        UnknownNameError: no such signal.
    """
    if name in targets.TARGETS:
        return density_signal(opened, texts, name)
    if name == "owl":
        return outlier_signal(opened, texts)
    if name == "alpha":
        return tail_signal(opened)
    if name == "depth":
        return allocate.depth_signal(opened.num_layers)
    raise UnknownNameError("signal", name, NAMES)


def density_signal(opened: OpenedModel, texts: Sequence[Sequence[int]], target: str) -> list[float]:
    """Density of each layer on these texts, under the joint quantile."""
    sample = WeightSample()
    collect(opened.model, texts, targets.find(target), [sample], batch_size=max(1, 512 // len(texts[0])))
    means = [values_NW.mean(0) for values_NW in sample.layers(len(texts))]
    limit = density.threshold(means, THRESHOLD)
    return [density.density(mean_W, limit) for mean_W in means]


def outlier_signal(opened: OpenedModel, texts: Sequence[Sequence[int]]) -> list[float]:
    """Share of outliers among abs(W) * norm2(X) of each layer of the dense model."""
    scores: dict[int, list[Tensor]] = {}

    def look(statistics: InputStatistics) -> None:
        score_OI = statistics.linear.weight_OI.abs().float() * statistics.norms_I
        scores.setdefault(statistics.linear.layer, []).append(score_OI.flatten())

    shares: list[float] = []
    for layer in walk(opened.model, texts, look):
        score = torch.cat(scores.pop(layer))
        shares.append(float((score > OUTLIER * score.mean()).double().mean()))
    return shares


def tail_signal(opened: OpenedModel) -> list[float]:
    """The negative of Hill's tail exponent of the spectra of a layer's matrices, their mean: heavy tails keep more."""
    by_layer: dict[int, list[float]] = {}
    for linear in named_linears(opened.model):
        by_layer.setdefault(linear.layer, []).append(-hill_exponent(linear.weight_OI))
    return [sum(values) / len(values) for _, values in sorted(by_layer.items())]


def hill_exponent(weight_OI: Tensor) -> float:
    """1 + k / sum of log(eigenvalue / k-th largest) over the larger half of the eigenvalues of W W^T."""
    wide = weight_OI.double() if weight_OI.shape[0] <= weight_OI.shape[1] else weight_OI.double().T
    eigenvalues = torch.linalg.eigvalsh(wide @ wide.T).clamp_min(1e-30).flip(0)
    half = max(1, len(eigenvalues) // 2)
    logs = (eigenvalues[:half] / eigenvalues[min(half, len(eigenvalues) - 1)]).log().sum()
    return 1 + half / max(float(logs), 1e-12)


def layer_sizes(linears: Sequence[NamedLinear]) -> list[int]:
    """Weights of each layer."""
    sizes: dict[int, int] = {}
    for linear in linears:
        sizes[linear.layer] = sizes.get(linear.layer, 0) + linear.weight_OI.numel()
    return [size for _, size in sorted(sizes.items())]
