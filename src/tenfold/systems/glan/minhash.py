"""MinHash of texts: 128 hash functions over word 3-shingles, and bands of them that near duplicates share.

The share of equal places in two signatures estimates the Jaccard index of the shingles. With 21 bands of 6 rows a pair of
Jaccard 0.8 shares a band with probability 0.998, one of 0.3 with 0.015.
"""

# N texts, S shingles of all texts together, H hash functions, B bands, R rows of a band
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.systems.glan.grams import Hashes, gram_hashes, mixed, word_hashes

NUM_HASHES = 128
NUM_BANDS, ROWS = 21, 6
SHINGLE = 3
_RNG = np.random.default_rng(2402_13064)
FACTORS_H = _RNG.integers(1, 2**63, NUM_HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
OFFSETS_H = _RNG.integers(0, 2**63, NUM_HASHES, dtype=np.uint64)


def signatures(texts: Sequence[Sequence[str]]) -> NDArray[np.uint32]:
    """MinHash signatures, one row of 128 numbers per text, which is given in words."""
    if not texts:
        return np.empty((0, NUM_HASHES), dtype=np.uint32)
    sets = [_shingles(words) for words in texts]
    shingles_S = np.concatenate(sets)
    starts = np.cumsum([0, *map(len, sets[:-1])])
    signature_NH = np.empty((len(texts), NUM_HASHES), dtype=np.uint32)
    for h, (factor, offset) in enumerate(zip(FACTORS_H, OFFSETS_H, strict=True)):
        hashed_S = ((shingles_S * factor + offset) >> np.uint64(32)).astype(np.uint32)
        signature_NH[:, h] = np.minimum.reduceat(hashed_S, starts)
    return signature_NH


def band_keys(signature_NH: NDArray[np.uint32]) -> Hashes:
    """One number per text and band; texts with equal rows in a band share it."""
    rows_NBR = signature_NH[:, : NUM_BANDS * ROWS].reshape(len(signature_NH), NUM_BANDS, ROWS).astype(np.uint64)
    keys_NB = np.zeros(rows_NBR.shape[:2], dtype=np.uint64)
    for row in range(ROWS):
        keys_NB = mixed(keys_NB + rows_NBR[:, :, row])
    return keys_NB


def jaccard(first: Hashes, second: Hashes) -> float:
    """Shared part of two sets of distinct hashes."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    union = len(first) + len(second) - shared
    return shared / union if union else 1.0


def _shingles(words: Sequence[str]) -> Hashes:
    """As `grams.shingles`, but repeated ones stay, which a minimum does not mind; at least one."""
    hashes = word_hashes(words)
    return gram_hashes(hashes, min(SHINGLE, len(hashes))) if len(hashes) else np.zeros(1, dtype=np.uint64)
