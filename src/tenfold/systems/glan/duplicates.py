"""Duplicates among any number of texts, in bounded memory: texts and the keys of their bands lie in a scratch SQLite file.

A text is a duplicate where an earlier text that was kept has the same words, and a near duplicate where it shares at least
0.8 of their word 3-shingles. MinHash bands name the candidates (`minhash`); what decides is the Jaccard index itself, so
there are no false positives. In memory is one band at a time: 24 bytes a text.
"""

# N texts, B bands
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tenfold.systems.glan.grams import shingles, words_of
from tenfold.systems.glan.minhash import NUM_BANDS, SHINGLE, band_keys, jaccard, signatures

THRESHOLD = 0.8
BATCH = 512
"""Texts that are hashed together."""
MOST_EARLIER = 64
"""Earlier members of one band's bucket with which a text is compared."""
EXACT = NUM_BANDS
"""A further band: its key is made of all words, so its buckets hold equal texts."""
IN_MEMORY = Path(":memory:")
TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE text (number INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE batch (batch INTEGER PRIMARY KEY, numbers BLOB NOT NULL);
CREATE TABLE keys (band INTEGER, batch INTEGER, keys BLOB NOT NULL, PRIMARY KEY (band, batch));
CREATE TABLE candidate (number INTEGER, earlier INTEGER, PRIMARY KEY (number, earlier)) WITHOUT ROWID;
"""


class Duplicate(NamedTuple):
    """A text that repeats an earlier, kept one."""

    number: int
    earlier: int
    is_exact: bool


class Texts:
    """Numbered texts in a scratch file, or in memory; a context manager that leaves the file to its owner."""

    def __init__(self, path: Path = IN_MEMORY) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(TABLES)
        self._pending: list[tuple[int, str]] = []
        self._num_batches = 0

    def __enter__(self) -> "Texts":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, number: int, text: str) -> None:
        """Files a text; numbers must rise, and the earlier of two equal texts has the lower one."""
        self._pending.append((number, text))
        if len(self._pending) == BATCH:
            self._flush()

    def duplicates(self, *, threshold: float = THRESHOLD) -> Iterator[Duplicate]:
        """The texts that repeat an earlier kept one, in order; asked once, when all texts are there."""
        self._flush()
        self._find_candidates()
        found: set[int] = set()
        rows = self._database.execute("SELECT number, earlier FROM candidate ORDER BY number, earlier")
        for number, some in groupby(rows, key=lambda row: row[0]):
            kept = [earlier for _, earlier in some if earlier not in found]
            duplicate = self._verified(number, kept, threshold)
            if duplicate is not None:
                found.add(number)
                yield duplicate

    def all(self) -> Iterator[tuple[int, str]]:
        """Every text with its number, in order."""
        self._flush()
        return iter(self._database.execute("SELECT number, text FROM text ORDER BY number"))

    def _verified(self, number: int, earlier: Sequence[int], threshold: float) -> Duplicate | None:
        """The first of the earlier texts that this one repeats."""
        if not earlier:
            return None
        text = self._text(number)
        words, own = words_of(text), shingles(text, SHINGLE)
        for other in earlier:
            other_text = self._text(other)
            if jaccard(own, shingles(other_text, SHINGLE)) >= threshold:
                return Duplicate(number, other, words == words_of(other_text))
        return None

    def _text(self, number: int) -> str:
        return self._database.execute("SELECT text FROM text WHERE number = ?", (number,)).fetchone()[0]

    def _flush(self) -> None:
        if not self._pending:
            return
        words = [words_of(text) for _, text in self._pending]
        whole_N = np.array([_whole_key(each) for each in words], dtype=np.uint64)
        keys_NB = np.column_stack([band_keys(signatures(words)), whole_N])
        numbers = np.array([number for number, _ in self._pending], dtype=np.int64)
        batch = self._num_batches
        bands = ((band, batch, keys_NB[:, band].tobytes()) for band in range(NUM_BANDS + 1))
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO text VALUES (?, ?)", self._pending)
        self._database.execute("INSERT INTO batch VALUES (?, ?)", (batch, numbers.tobytes()))
        self._database.executemany("INSERT INTO keys VALUES (?, ?, ?)", bands)
        self._database.execute("COMMIT")
        self._num_batches += 1
        self._pending = []

    def _find_candidates(self) -> None:
        numbers = self._joined("SELECT numbers FROM batch ORDER BY batch", (), np.int64)
        for band in range(NUM_BANDS + 1):
            keys = self._joined("SELECT keys FROM keys WHERE band = ? ORDER BY batch", (band,), np.uint64)
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT OR IGNORE INTO candidate VALUES (?, ?)",
                ((member, earlier) for bucket in _buckets(keys) for member, earlier in _earlier(numbers[bucket].tolist())),
            )
            self._database.execute("COMMIT")

    def _joined(self, query: str, values: tuple[int, ...], dtype: type[np.generic]) -> NDArray[np.generic]:
        """Blobs of all batches as one array."""
        parts = [np.frombuffer(blob, dtype=dtype) for (blob,) in self._database.execute(query, values)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


def near_duplicates(texts: Sequence[str], *, threshold: float = THRESHOLD) -> Mapping[int, int]:
    """For each text that repeats an earlier kept one, nearly or exactly, by index: the earlier one's index."""
    with Texts() as store:
        for number, text in enumerate(texts):
            store.add(number, text)
        return {each.number: each.earlier for each in store.duplicates(threshold=threshold)}


def _whole_key(words: Sequence[str]) -> int:
    """One number for all words of a text."""
    return int.from_bytes(blake2b(" ".join(words).encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def _earlier(bucket: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Every member of a bucket with the first ones before it."""
    for place, member in enumerate(bucket):
        yield from ((member, earlier) for earlier in bucket[: min(place, MOST_EARLIER)])


def _buckets(keys_N: NDArray[np.generic]) -> Iterator[NDArray[np.intp]]:
    """Places of equal keys, in order, where there are two or more."""
    order_N = np.argsort(keys_N, kind="stable")
    sorted_N = keys_N[order_N]
    edges = np.flatnonzero(np.concatenate([[True], sorted_N[1:] != sorted_N[:-1], [True]])) if len(keys_N) else ORDERLESS
    starts, ends = edges[:-1], edges[1:]
    for place in np.flatnonzero(ends - starts > 1):
        yield order_N[starts[place] : ends[place]]


ORDERLESS = np.zeros(1, dtype=np.intp)
