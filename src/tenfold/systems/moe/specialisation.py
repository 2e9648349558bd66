"""How far experts specialise: traces come in; shares, overlaps and information go out, each with its control.

    domain        share of a domain's choices that go to an expert, times N'/1: 1 is no preference
    vocabulary    the same for a token, as input or as the token to come
    coactivation  P(j chosen | i chosen), per layer
    saturation    overlap of the choices of two checkpoints, over K'
    nmi           2 I(E; C) / (H(E) + H(C)) of expert and class, less its mean where classes are shuffled

A count over few tokens always looks specialised; so every figure stands beside the same figure of shuffled classes, and the
intervals come from drawing documents anew.
"""

# L layers, T tokens, K chosen experts per token, N routed experts, C classes, D documents, R draws

import numpy as np
from numpy.typing import NDArray

from tenfold.core.errors import ConfigError
from tenfold.evals.statistics.estimate import Estimate
from tenfold.systems.moe.trace import Trace

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NUM_DRAWS = 300
NUM_SHUFFLES = 20
PERCENTILES = (2.5, 97.5)
SEEN_ENOUGH = 16
"""A token that occurs less often says nothing of its experts."""


def class_counts(expert_TK: NDArray[np.uint16], class_T: Integers, num_classes: int, num_experts: int) -> Floats:
    """How often the tokens of each class chose each expert, [C, N]; tokens of class -1 do not count."""
    known_T = class_T >= 0
    place_S = (class_T[known_T, None] * num_experts + expert_TK[known_T].astype(np.int64)).ravel()
    return np.bincount(place_S, minlength=num_classes * num_experts).reshape(num_classes, num_experts).astype(np.float64)


def preference(count_CN: Floats) -> Floats:
    """Share of each class's choices by expert, over the share of an even split; [C, N], 1 is no preference."""
    return count_CN / np.maximum(count_CN.sum(1, keepdims=True), 1) * count_CN.shape[1]


def specialisation(count_CN: Floats) -> float:
    """The largest preference of each class, averaged over choices: 1 is none, N / K the most."""
    weight_C = count_CN.sum(1)
    return float((preference(count_CN).max(1) * weight_C).sum() / max(weight_C.sum(), 1))


def nmi(count_CN: Floats) -> float:
    """Normalised mutual information of class and expert, 0 to 1."""
    joint_CN = count_CN / count_CN.sum()
    class_C, expert_N = joint_CN.sum(1), joint_CN.sum(0)
    entropies = _entropy(class_C) + _entropy(expert_N)
    return 2 * (entropies - _entropy(joint_CN.ravel())) / entropies if entropies > 0 else 0.0


def token_classes(token_T: Integers) -> tuple[Integers, Integers]:
    """Tokens seen often enough as classes from 0, the others as -1; and the tokens that the classes stand for."""
    kept, place_T, count = np.unique(token_T, return_inverse=True, return_counts=True)
    often = count >= SEEN_ENOUGH
    number = np.where(often, np.cumsum(often) - 1, -1)
    return number[place_T], kept[often]


def measured(trace: Trace, class_T: Integers, num_classes: int, *, by_document: bool, seed: int = 0) -> dict[str, Floats]:
    """Specialisation and NMI of each layer [L], and both where classes are shuffled.

    Classes that belong to documents are shuffled among documents, classes of tokens among tokens: what remains after a
    shuffle is what counting alone would show.
    """
    generator = np.random.default_rng(seed)
    shuffled = [_shuffle(trace, class_T, by_document, generator) for _ in range(NUM_SHUFFLES)]
    found: dict[str, list[float]] = {"specialisation": [], "nmi": [], "specialisation_null": [], "nmi_null": []}
    for expert_TK in trace.expert_LTK:
        real = class_counts(expert_TK, class_T, num_classes, trace.num_experts)
        null = [class_counts(expert_TK, each, num_classes, trace.num_experts) for each in shuffled]
        found["specialisation"].append(specialisation(real))
        found["nmi"].append(nmi(real))
        found["specialisation_null"].append(float(np.mean([specialisation(each) for each in null])))
        found["nmi_null"].append(float(np.mean([nmi(each) for each in null])))
    return {name: np.array(values) for name, values in found.items()}


def interval(trace: Trace, class_T: Integers, num_classes: int, *, seed: int = 0) -> Estimate:
    """Specialisation, mean over layers, with its interval over documents."""
    num_documents = len(trace.documents)
    counts_DLCN = np.zeros((num_documents, len(trace.expert_LTK), num_classes, trace.num_experts))
    for document in range(num_documents):
        own_T = trace.document_T == document
        for layer, expert_TK in enumerate(trace.expert_LTK):
            counts_DLCN[document, layer] = class_counts(expert_TK[own_T], class_T[own_T], num_classes, trace.num_experts)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(NUM_DRAWS):
        weight_D = np.bincount(generator.integers(num_documents, size=num_documents), minlength=num_documents)
        drawn.append(_mean_specialisation(np.tensordot(weight_D.astype(np.float64), counts_DLCN, 1)))
    low, high = np.percentile(drawn, PERCENTILES)
    return Estimate(_mean_specialisation(counts_DLCN.sum(0)), float(low), float(high))


def coactivation(expert_TK: NDArray[np.uint16], num_experts: int) -> Floats:
    """P(j chosen | i chosen) of one layer, [N, N], with zeros on the diagonal."""
    chosen_TN = np.zeros((len(expert_TK), num_experts), dtype=np.float32)
    np.put_along_axis(chosen_TN, expert_TK.astype(np.int64), 1.0, axis=1)
    both_NN = (chosen_TN.T @ chosen_TN).astype(np.float64)
    own_N = np.diag(both_NN).copy()
    np.fill_diagonal(both_NN, 0.0)
    return both_NN / np.maximum(own_N, 1)[:, None]


def saturation(earlier: Trace, last: Trace) -> Floats:
    """Share of the last model's choices that the earlier one made too, by layer [L].

    Raises:
        ConfigError: the traces are not of the same tokens and shapes.
    """
    if earlier.expert_LTK.shape != last.expert_LTK.shape or not np.array_equal(earlier.token_T, last.token_T):
        raise ConfigError("the two traces are not of the same text and kind of model; trace both over the same blocks")
    same_LTKK = earlier.expert_LTK[:, :, :, None] == last.expert_LTK[:, :, None, :]
    return same_LTKK.any(-1).mean(axis=(1, 2))


def _mean_specialisation(count_LCN: Floats) -> float:
    return float(np.mean([specialisation(count_CN) for count_CN in count_LCN]))


def _shuffle(trace: Trace, class_T: Integers, by_document: bool, generator: np.random.Generator) -> Integers:
    if not by_document:
        return generator.permutation(class_T)
    first_D = np.array([class_T[trace.document_T == document][0] for document in range(len(trace.documents))])
    return generator.permutation(first_D)[trace.document_T]


def _entropy(share: Floats) -> float:
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())
