"""Texts as hashed runs of words, for finding texts that are nearly or partly the same.

Words come from NFKC and lower case, split at everything that is no letter or digit. A run of n words becomes 64 bits; the
same run is the same number on every machine.
"""

# W words of a text, G = W - n + 1 grams
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
WORD = re.compile(r"[^\W_]+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def words_of(text: str) -> list[str]:
    """The words of a text, normalised."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


@lru_cache(maxsize=1 << 17)
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def word_hashes(words: Sequence[str]) -> Hashes:
    """One number per word."""
    return np.fromiter(map(_word_hash, words), dtype=np.uint64, count=len(words))


def gram_hashes(hashes_W: Hashes, n: int) -> Hashes:
    """One number per run of n words; none where the text is shorter."""
    return all_gram_hashes(hashes_W, n)[n]


def all_gram_hashes(hashes_W: Hashes, most: int) -> list[Hashes]:
    """The runs of 0, 1, ... `most` words, each made from the one before; in place 0 there is nothing to know."""
    total_G = np.zeros(len(hashes_W) + 1, dtype=np.uint64)
    grams = [total_G]
    for n in range(1, most + 1):
        num_grams = max(0, len(hashes_W) - n + 1)
        total_G = mixed(total_G[:num_grams] * MULTIPLIER + hashes_W[n - 1 :])  # arithmetic modulo 2^64
        grams.append(total_G)
    return grams


def mixed(values: Hashes) -> Hashes:
    """Spreads every bit over all others."""
    values = (values ^ (values >> np.uint64(32))) * MULTIPLIER
    return values ^ (values >> np.uint64(29))


def shingles(text: str, n: int) -> Hashes:
    """The distinct n-grams of a text, sorted; of a shorter text, the text as one."""
    hashes = word_hashes(words_of(text))
    return np.unique(gram_hashes(hashes, min(n, max(len(hashes), 1))))
