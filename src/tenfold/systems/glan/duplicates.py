"""Near duplicates by MinHash: 128 hash functions over word 3-shingles, bands to find candidates, true Jaccard to decide.

A text is a duplicate where an earlier text that was kept shares at least 0.8 of their shingles. With 21 bands of 6 rows a
pair of Jaccard 0.8 becomes a candidate with probability 0.998, one of 0.3 with 0.015. What decides is the Jaccard index
itself, so there are no false positives.
"""

# N texts, S shingles of all texts together, H hash functions, B bands, R rows of a band
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.systems.glan.grams import Hashes, gram_hashes, mixed, shingles, word_hashes, words_of

NUM_HASHES = 128
NUM_BANDS, ROWS = 21, 6
SHINGLE = 3
THRESHOLD = 0.8
BATCH = 512
"""Texts that are hashed together."""
MOST_EARLIER = 64
"""Earlier members of one band's bucket with which a text is compared."""
_RNG = np.random.default_rng(2402_13064)
FACTORS_H = _RNG.integers(1, 2**63, NUM_HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
OFFSETS_H = _RNG.integers(0, 2**63, NUM_HASHES, dtype=np.uint64)


def near_duplicates(texts: Sequence[str], *, threshold: float = THRESHOLD) -> dict[int, int]:
    """For each text that is a near duplicate of an earlier kept one, by index: the earlier one's index."""
    found: dict[int, int] = {}
    for index, earlier in _candidates(texts):
        own = shingles(texts[index], SHINGLE)
        for other in earlier:
            if other not in found and jaccard(own, shingles(texts[other], SHINGLE)) >= threshold:
                found[index] = other
                break
    return found


def jaccard(first: Hashes, second: Hashes) -> float:
    """Shared part of two sets of distinct hashes."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    union = len(first) + len(second) - shared
    return shared / union if union else 1.0


def signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    """MinHash signatures, one row of 128 numbers per text."""
    parts = [_signatures(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    return np.concatenate(parts) if parts else np.empty((0, NUM_HASHES), dtype=np.uint32)


def _signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    sets = [_shingles(text) for text in texts]
    shingles_S = np.concatenate(sets)
    starts = np.cumsum([0, *map(len, sets[:-1])])
    signature_NH = np.empty((len(texts), NUM_HASHES), dtype=np.uint32)
    for h, (factor, offset) in enumerate(zip(FACTORS_H, OFFSETS_H, strict=True)):
        hashed_S = ((shingles_S * factor + offset) >> np.uint64(32)).astype(np.uint32)
        signature_NH[:, h] = np.minimum.reduceat(hashed_S, starts)
    return signature_NH


def _shingles(text: str) -> Hashes:
    """As `grams.shingles`, but repeated ones stay, which a minimum does not mind; at least one."""
    hashes = word_hashes(words_of(text))
    return gram_hashes(hashes, min(SHINGLE, len(hashes))) if len(hashes) else np.zeros(1, dtype=np.uint64)


def band_keys(signature_NH: NDArray[np.uint32]) -> Hashes:
    """One number per text and band; texts with equal rows in a band share it."""
    rows_NBR = signature_NH[:, : NUM_BANDS * ROWS].reshape(len(signature_NH), NUM_BANDS, ROWS).astype(np.uint64)
    keys_NB = np.zeros(rows_NBR.shape[:2], dtype=np.uint64)
    for row in range(ROWS):
        keys_NB = mixed(keys_NB + rows_NBR[:, :, row])
    return keys_NB


def _candidates(texts: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
    """Texts that share a band with earlier ones, in order, with the indexes of those."""
    keys_NB = np.empty((len(texts), NUM_BANDS), dtype=np.uint64)
    for start in range(0, len(texts), BATCH):
        keys_NB[start : start + BATCH] = band_keys(_signatures(texts[start : start + BATCH]))
    earlier: dict[int, set[int]] = {}
    for band in range(NUM_BANDS):
        for bucket in _buckets(keys_NB[:, band]):
            for place, index in enumerate(bucket[1:], 1):
                earlier.setdefault(index, set()).update(bucket[: min(place, MOST_EARLIER)])
    for index in sorted(earlier):
        yield index, sorted(earlier[index])


def _buckets(keys_N: Hashes) -> Iterator[list[int]]:
    """Indexes of equal keys, in order, where there are two or more."""
    order_N = np.argsort(keys_N, kind="stable")
    ends = np.flatnonzero(np.diff(keys_N[order_N])) + 1
    for bucket in np.split(order_N, ends):
        if len(bucket) > 1:
            yield bucket.tolist()
