"""Two learners that turn rows of features into one weight per feature: naive Bayes and logistic regression.

Both are linear, so a text's score is its row times the weights; logistic regression over the options of an item (one of
them is right) and over single texts (right or wrong) share one optimiser.
"""

# U texts, V features, N items, K options
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array
from threadpoolctl import ThreadpoolController

from tenfold.evals.audits.features import size

Floats = NDArray[np.float64]
Loss = Callable[[Floats], tuple[float, Floats]]
"""From scores (U,) to the mean loss and its gradient with respect to them."""

RIDGE = 1e-4
STEPS = 30


def naive_bayes(rows_UV: csr_array, positive_U: Floats, negative_U: Floats) -> Floats:
    """(V,) ln of the share of positive texts that hold a feature, less the same of negative ones, (count + 1) / (N + 2).

    Args:
        rows_UV: sets of features.
        positive_U: how often each text occurs as a positive; 0 for texts outside the training part.
        negative_U: the same for negatives.
    """
    share_positive_V = (rows_UV.T @ positive_U + 1) / (positive_U.sum() + 2)
    share_negative_V = (rows_UV.T @ negative_U + 1) / (negative_U.sum() + 2)
    return np.log(share_positive_V) - np.log(share_negative_V)


def naive_bayes_counts(rows_UV: csr_array, positive_U: Floats, negative_U: Floats) -> Floats:
    """(V,) the same from counts of tokens: a token's share of all tokens of its class, (count + 1) / (total + V)."""
    count_positive_V = rows_UV.T @ positive_U + 1
    count_negative_V = rows_UV.T @ negative_U + 1
    return np.log(count_positive_V / count_positive_V.sum()) - np.log(count_negative_V / count_negative_V.sum())


def choice_weights(rows_UV: csr_array, ids_NK: NDArray[np.intp], gold_N: NDArray[np.intp]) -> Floats:
    """(V,) logistic regression over the options of each item: the right one should win the softmax."""

    def loss(scores_U: Floats) -> tuple[float, Floats]:
        logits_NK = np.where(ids_NK < 0, -np.inf, scores_U[ids_NK])
        logits_NK -= logits_NK.max(axis=1, keepdims=True)
        p_NK = np.exp(logits_NK)
        p_NK /= p_NK.sum(axis=1, keepdims=True)
        mean_loss = -np.log(p_NK[items_N, gold_N] + 1e-300).mean()
        p_NK[items_N, gold_N] -= 1
        return mean_loss, np.bincount(ids_NK.ravel() % num_texts, weights=p_NK.ravel(), minlength=num_texts) / len(gold_N)

    items_N, num_texts = np.arange(len(gold_N)), size(rows_UV)[0]
    return _minimise(rows_UV, loss)


def label_weights(rows_UV: csr_array, positive_U: Floats, negative_U: Floats) -> Floats:
    """(V,) logistic regression over single texts, which count as often as they occur in each class."""

    def loss(scores_U: Floats) -> tuple[float, Floats]:
        p_U = np.exp(-np.logaddexp(0.0, -scores_U))
        total = np.sum(positive_U * np.logaddexp(0.0, -scores_U) + negative_U * np.logaddexp(0.0, scores_U))
        return total / size, (negative_U * p_U - positive_U * (1 - p_U)) / size

    size = positive_U.sum() + negative_U.sum()
    return _minimise(rows_UV, loss)


def _minimise(rows_UV: csr_array, loss: Loss) -> Floats:
    """The weights of least loss with a small ridge, after a fixed number of steps of L-BFGS."""

    columns_VU = csr_array(rows_UV.T)

    def objective(weights_V: Floats) -> tuple[float, Floats]:
        value, slope_U = loss(rows_UV @ weights_V)
        return value + RIDGE / 2 * float(weights_V @ weights_V), columns_VU @ slope_U + RIDGE * weights_V

    # The vectors are short: threads that wait for one another would cost many times the work.
    with _thread_pools().limit(limits=1):
        return minimize(objective, np.zeros(size(rows_UV)[1]), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()
