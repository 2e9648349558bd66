"""Texts as rows of a sparse matrix: sets or counts of tokens, and hashed character n-grams.

Naive Bayes sees `with_length(marked_words, ...)`: words, numbers, punctuation, and how long the text is in coarse steps.
The function words are those that two texts may share without being alike.
"""

# U texts, V features, S characters of all texts together
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the and or but not of to in into on at by for with from as is are was were be been has have had"
        " it its this that there which who while one",
    )
)
WORD = re.compile(r"[a-z']+")
NUMBER_OR_WORD = re.compile(r"\d+(?:\.\d+)?|[a-z']+")
TOKEN = re.compile(r"[a-z']+|\d+|\.\.+|[.,!?;:]")
NGRAM_COLUMNS = 2**16
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Tokens = Callable[[str], Iterable[str]]


def content_words(text: str) -> list[str]:
    """The lower-case words of a text without function words."""
    return [word for word in WORD.findall(text.lower()) if word not in FUNCTION_WORDS]


def words(text: str) -> list[str]:
    """The lower-case words and the numbers of a text."""
    return NUMBER_OR_WORD.findall(text.lower())


def marked_words(text: str) -> list[str]:
    """Words, numbers and punctuation marks, lower-case; two or more full stops in a row are one mark."""
    return TOKEN.findall(text.lower())


def word_pairs(text: str) -> list[str]:
    """Words and marks, alone and in neighbouring pairs."""
    tokens = ["^", *marked_words(text), "$"]
    return tokens[1:-1] + [f"{first} {second}" for first, second in pairwise(tokens)]


def with_length(tokens: Tokens, *, step: int, most: int) -> Tokens:
    """The tokens and one more for the length in characters: min(most, length // step)."""
    return lambda text: [*tokens(text), f"length {min(most, len(text) // step)}"]


def bag(texts: Sequence[str], tokens: Tokens, *, counted: bool = False) -> csr_array:
    """(U, V) 1 where a text holds a token, or how often if `counted`; columns in order of appearance."""
    column: dict[str, int] = {}
    rows = [[column.setdefault(token, len(column)) for token in tokens(text)] for text in texts]
    ends = np.cumsum([0, *map(len, rows)])
    columns = np.array([place for row in rows for place in row], dtype=np.int64)
    matrix_UV = csr_array((np.ones(len(columns)), columns, ends), shape=(len(texts), max(1, len(column))))
    matrix_UV.sum_duplicates()
    if not counted:
        matrix_UV.data[:] = 1.0
    return matrix_UV


def char_ngrams(texts: Sequence[str], sizes: Sequence[int] = (1, 2, 3, 4)) -> csr_array:
    """(U, V) the hashed character n-grams of each text, weighted (1 + ln tf) * idf, rows of length 1.

    All texts are hashed as one array; n-grams that would reach over the end of their text are left out.
    """
    codes_S = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    row_S = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    rows, columns = zip(*(_ngrams(codes_S, row_S, size) for size in sizes), strict=True)
    row, column = np.concatenate(rows), np.concatenate(columns)
    matrix_UV = csr_array((np.ones(len(row)), (row, column)), shape=(len(texts), NGRAM_COLUMNS))
    matrix_UV.sum_duplicates()
    return weighted(matrix_UV)


def size(matrix_UV: csr_array) -> tuple[int, int]:
    """Rows and columns; scipy's types would allow an array without a shape."""
    assert matrix_UV.shape is not None
    return matrix_UV.shape


def weighted(counts_UV: csr_array) -> csr_array:
    """(1 + ln tf) * (1 + ln((1 + U) / (1 + df))), each row of length 1; columns that no text has are dropped."""
    num_texts, num_columns = size(counts_UV)
    holding_V = np.bincount(counts_UV.indices, minlength=num_columns)
    idf_V = 1 + np.log((1 + num_texts) / (1 + holding_V))
    matrix_UV = counts_UV.copy()
    matrix_UV.data = (1 + np.log(matrix_UV.data)) * idf_V[matrix_UV.indices]
    lengths_U = np.sqrt(matrix_UV.power(2).sum(axis=1))
    return csr_array(diags_array(1 / np.maximum(lengths_U, 1e-12)) @ matrix_UV)[:, np.flatnonzero(holding_V)]


def _ngrams(codes_S: NDArray[np.uint64], row_S: NDArray[np.intp], size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The row and the hashed column of each n-gram of this size."""
    num = max(0, len(codes_S) - size + 1)
    hash_S = np.full(num, size, dtype=np.uint64)
    for offset in range(size):
        hash_S = (hash_S ^ codes_S[offset : offset + num]) * MULTIPLIER
    inside_S = row_S[:num] == row_S[size - 1 : size - 1 + num]
    return row_S[:num][inside_S], (hash_S[inside_S] >> np.uint64(48)).astype(np.intp)
