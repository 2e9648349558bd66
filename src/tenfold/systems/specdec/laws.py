"""Arithmetic on probability laws, one numpy row per law.

The entries are float32 in production and Fractions (dtype object) in the certificate, so that the verifiers that are
certified are the very ones that run.
"""

# V vocabulary
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

Law = NDArray[Any]
"""One row [V] of probabilities that sum to 1."""


def excess(law_V: Law, other_V: Law) -> Law:
    """max(0, law - other), entry by entry: where `law` asks for more than `other` gave; not normalised."""
    return np.maximum(law_V - other_V, 0)


def normalised(mass_V: Law, *, otherwise_V: Law) -> Law:
    """`mass` scaled to sum 1, or `otherwise` if there is no mass."""
    total = mass_V.sum()
    return mass_V / total if total > 0 else otherwise_V


def point_mass(token: int, like_V: Law) -> Law:
    """The law that is sure of `token`, with the size and number type of `like`."""
    law_V = np.zeros_like(like_V)
    law_V[token] = 1
    return law_V


def without(tokens: Collection[int], law_V: Law) -> Law:
    """The law given that none of `tokens` is drawn; the law itself if they hold all its mass."""
    rest_V = law_V.copy()
    rest_V[list(tokens)] = 0
    return normalised(rest_V, otherwise_V=law_V)
