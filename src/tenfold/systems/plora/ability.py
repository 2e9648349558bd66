"""Learning ability: what a method gained over the untrained model, for one unit of what LoRA gained.

    LA = (L_base - L_method) / (L_base - L_LoRA)

Rows and seeds are drawn anew, independently of each other and the same for both methods (the pigeonhole bootstrap):
all rows of a drawn seed share its training, all seeds of a drawn row share its difficulty.
"""

# N rows, S seeds, R draws
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.evals.statistics import Estimate

NUM_DRAWS = 4_000
PERCENTILES = (2.5, 97.5)

Floats = NDArray[np.float64]


def learning_ability(
    base_N: ArrayLike, method_SN: ArrayLike, lora_SN: ArrayLike, *, draws: int = NUM_DRAWS, seed: int = 0
) -> Estimate | None:
    """LA with its 95 % interval, from summed nats of each row; None while LoRA's own gain is not clear of 0.

    Args:
        base_N: nats of each row under the untrained model.
        method_SN: the same after training, for each seed.
        lora_SN: those of LoRA, under the same seeds.
    """
    gains_SN, lora_gains_SN = (np.asarray(base_N) - np.asarray(losses) for losses in (method_SN, lora_SN))
    generator = np.random.default_rng(seed)
    rows_RN, seeds_RS = (_counts(size, draws, generator) for size in reversed(gains_SN.shape))
    ours_R, theirs_R = (_drawn_sums(gains, rows_RN, seeds_RS) for gains in (gains_SN, lora_gains_SN))
    if np.percentile(theirs_R, PERCENTILES[0]) <= 0:
        return None
    low, high = np.percentile(ours_R / theirs_R, PERCENTILES)
    return Estimate(float(gains_SN.sum() / lora_gains_SN.sum()), float(low), float(high))


def mean_loss(nats_SN: Sequence[Sequence[float]], tokens_N: Sequence[int]) -> float:
    """Nats per token over all rows and seeds."""
    return float(np.sum(nats_SN) / (len(nats_SN) * np.sum(tokens_N)))


def _counts(size: int, draws: int, generator: np.random.Generator) -> Floats:
    """How often each item is in each draw of `size` items."""
    return generator.multinomial(size, np.full(size, 1 / size), size=draws).astype(np.float64)


def _drawn_sums(gains_SN: Floats, rows_RN: Floats, seeds_RS: Floats) -> Floats:
    return ((seeds_RS @ gains_SN) * rows_RN).sum(axis=1)
