"""Questions that ask alike in other words: cosine of TF-IDF vectors over words and pairs of words. Optional, and quadratic.

A question is alike an earlier kept one where the cosine of their vectors reaches a threshold. Words that more than a tenth
of the questions share (and more than 20) do not count. Every question is compared with all before it: 100,000 are the most
that is reasonable; beyond that, near duplicates (`duplicates`) are what scales.
"""

# N texts, C columns
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
from scipy import sparse

from tenfold.systems.glan.grams import gram_hashes, word_hashes, words_of

NUM_COLUMNS = 1 << 20
BLOCK = 128
"""Texts that are compared with all others at a time."""
COMMON_SHARE, LEAST_COMMON = 0.1, 20


def alike(texts: Iterable[tuple[int, str]], threshold: float) -> Iterator[tuple[int, int, float]]:
    """(number, the number of an earlier kept text, cosine) for each text that is alike one, in order."""
    numbers, vectors_NC = _vectors(texts)
    dropped: set[int] = set()
    for start in range(0, len(numbers), BLOCK):
        block = sparse.coo_matrix(vectors_NC[start : start + BLOCK] @ vectors_NC[: start + BLOCK].T)
        is_near = (block.data >= threshold) & (block.col < block.row + start)
        columns = (block.row[is_near] + start, block.col[is_near], block.data[is_near])
        near = sorted(zip(*(column.tolist() for column in columns), strict=True))
        for place, some in groupby(near, key=lambda each: each[0]):
            earlier = next(((other, likeness) for _, other, likeness in some if other not in dropped), None)
            if earlier is not None:
                dropped.add(place)
                yield numbers[place], numbers[earlier[0]], earlier[1]


def _vectors(texts: Iterable[tuple[int, str]]) -> tuple[list[int], sparse.csr_matrix]:
    """The texts' numbers, and their vectors of length 1; a text without words has a vector of zeros."""
    numbers, columns, ends = [], [], [0]
    for number, text in texts:
        hashes = word_hashes(words_of(text))
        columns.append(np.concatenate([hashes, gram_hashes(hashes, 2)]) % np.uint64(NUM_COLUMNS))
        ends.append(ends[-1] + len(columns[-1]))
        numbers.append(number)
    places = np.concatenate(columns).astype(np.int32) if columns else np.empty(0, dtype=np.int32)
    counts_NC = sparse.csr_matrix((np.ones(len(places), np.float32), places, ends), shape=(len(numbers), NUM_COLUMNS))
    counts_NC.sum_duplicates()
    return numbers, _weighted(counts_NC)


def _weighted(counts_NC: sparse.csr_matrix) -> sparse.csr_matrix:
    (num_texts, _) = counts_NC.get_shape()
    spread_C = np.bincount(counts_NC.indices, minlength=NUM_COLUMNS)
    weight_C = np.log((1 + num_texts) / (1 + spread_C)).astype(np.float32)
    weight_C[spread_C > max(LEAST_COMMON, COMMON_SHARE * num_texts)] = 0
    counts_NC.data *= weight_C[counts_NC.indices]
    counts_NC.eliminate_zeros()
    norm_N = np.sqrt(np.asarray(counts_NC.multiply(counts_NC).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags(1 / np.where(norm_N > 0, norm_N, 1)) @ counts_NC)
