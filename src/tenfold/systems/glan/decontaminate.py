"""Decontamination: records that hold an item of a registered benchmark, with the item and the rule that says so.

    exact       the whole item stands in the record as running words: items of 8 words and more as they are, shorter ones
                together with their choices
    13-gram     13 running words are shared
    overlap     an item of 13 words and more shares at least half of its 5-grams with the record

Case, punctuation and spacing do not count. Why 13: on 7,448 windows of an economics textbook, 8-grams of GSM8K and MMLU
hit 5 times and 13-grams never.

Many texts are looked at together: one pass over the grams of all of them tells which could hold an item, and only these are
checked one by one.
"""

# T grams of the table, G grams of a record or of many, N texts, F places of a filter
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import ceil
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

from tenfold.systems.glan.grams import Hashes, all_gram_hashes, gram_hashes, word_hashes, words_of

LONG = 13
SHORT = 8
OVERLAP = 5
OVERLAP_SHARE = 0.5
NOBODY = np.empty(0, dtype=np.int32)
NO_WORDS = np.empty(0, dtype=np.uint64)
FILTER_ROOM = 16
"""Places of a filter for each gram in it, at least; so one in sixteen strange grams is looked up in vain."""


@dataclass(frozen=True)
class BenchmarkItem:
    """One item of a benchmark that must not be trained on."""

    benchmark: str
    id: str
    text: str
    choices: tuple[str, ...] = ()

    @cached_property
    def forms(self) -> list[list[str]]:
        """What counts as the item, in words: its text; where that is short, with the choices, lettered or not."""
        own = words_of(self.text)
        if len(own) >= SHORT or not self.choices:
            return [own] if own else []
        plain = [words_of(choice) for choice in self.choices]
        lettered = [[letter, *words] for letter, words in zip(ascii_lowercase, plain, strict=False)]
        return [own + list(chain(*plain)), own + list(chain(*lettered))]


@dataclass(frozen=True)
class Hit:
    """Why a record is dropped."""

    benchmark: str
    item: str
    rule: str
    text: str
    """The beginning of the benchmark's item."""


class GramTable:
    """Sorted grams, each with the item it comes from."""

    def __init__(self, grams: Sequence[Hashes], owners: Sequence[int]) -> None:
        all_T = np.concatenate(grams) if grams else np.empty(0, dtype=np.uint64)
        owner_T = np.repeat(np.asarray(owners, dtype=np.int32), [len(part) for part in grams])
        order_T = np.lexsort((owner_T, all_T))
        self.grams_T: Hashes = all_T[order_T]
        self.owner_T: NDArray[np.int32] = owner_T[order_T]
        self._shift = np.uint64(64 - max(10, (FILTER_ROOM * len(all_T)).bit_length()))
        self._filter_F = np.zeros(1 << (64 - int(self._shift)), dtype=np.bool_)
        self._filter_F[self.grams_T >> self._shift] = True

    def owners(self, grams_G: Hashes) -> NDArray[np.int32]:
        """The items that own these grams, once for each shared gram, those of the first gram first."""
        if not len(self.grams_T) or not len(grams_G):
            return NOBODY
        first_G = np.searchsorted(self.grams_T, grams_G)
        hits = np.flatnonzero(self.grams_T[np.minimum(first_G, len(self.grams_T) - 1)] == grams_G)
        if not len(hits):
            return NOBODY
        first, last = first_G[hits], np.searchsorted(self.grams_T, grams_G[hits], "right")
        return np.concatenate([self.owner_T[start:end] for start, end in zip(first, last, strict=True)])

    def places_held(self, grams_G: Hashes) -> NDArray[np.intp]:
        """The places of those grams that are in the table."""
        maybe = np.flatnonzero(self._filter_F[grams_G >> self._shift])
        if not len(maybe) or not len(self.grams_T):
            return maybe[:0]
        found = np.searchsorted(self.grams_T, grams_G[maybe])
        return maybe[self.grams_T[np.minimum(found, len(self.grams_T) - 1)] == grams_G[maybe]]


class Decontaminator:
    """Finds registered items in texts."""

    def __init__(self, items: Iterable[BenchmarkItem]) -> None:
        forms = [(item, form) for item in items for form in item.forms]
        self.items = [item for item, _ in forms]
        """One for each form."""
        hashed = [word_hashes(form) for _, form in forms]
        self.num_words = [len(form) for _, form in forms]
        every = range(len(hashed))
        self.lengths = sorted({len(hashes) for hashes in hashed if len(hashes) < LONG})
        self.whole = {
            length: self._table(hashed, [i for i in every if len(hashed[i]) == length], length) for length in self.lengths
        }
        long = [i for i in every if len(hashed[i]) >= LONG]
        self.long = self._table(hashed, long, LONG)
        self.overlap = self._table(hashed, long, OVERLAP)
        self.num_overlap_grams = [len(np.unique(gram_hashes(hashes, OVERLAP))) for hashes in hashed]
        self.least_overlap = ceil(OVERLAP_SHARE * min((self.num_overlap_grams[index] for index in long), default=1))
        """So many 5-grams a text shares at least with an item that it overlaps."""

    def check(self, text: str) -> Hit | None:
        """The first item that the text holds, or None."""
        grams = all_gram_hashes(word_hashes(words_of(text)), LONG)
        return self._long(grams) or self._exact(grams) or self._overlapping(grams)

    def check_all(self, texts: Sequence[str]) -> list[Hit | None]:
        """`check` of each text, many times as fast where few of them hold anything."""
        suspected_N = self.suspects([word_hashes(words_of(text)) for text in texts])
        return [self.check(text) if is_suspected else None for text, is_suspected in zip(texts, suspected_N, strict=True)]

    def suspects(self, hashes: Sequence[Hashes]) -> NDArray[np.bool_]:
        """Which texts, given as hashes of their words, could hold an item; all others hold none."""
        lengths_N = np.array([len(each) for each in hashes], dtype=np.intp)
        suspected_N = lengths_N < SHORT
        text_W = np.repeat(np.arange(len(hashes)), lengths_N)
        left_W = np.repeat(np.cumsum(lengths_N), lengths_N) - np.arange(len(text_W))  # words up to the text's end
        grams = all_gram_hashes(np.concatenate([*hashes, NO_WORDS]), LONG)
        for length, table in [*self.whole.items(), (LONG, self.long)]:
            suspected_N[self._texts_with(table, grams[length], length, text_W, left_W)] = True
        shared = self._texts_with(self.overlap, grams[OVERLAP], OVERLAP, text_W, left_W)
        return suspected_N | (np.bincount(shared, minlength=len(hashes)) >= self.least_overlap)

    @staticmethod
    def _texts_with(
        table: GramTable, grams_G: Hashes, length: int, text_W: NDArray[np.intp], left_W: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """The text of each gram that the table holds, without grams that run from one text into the next."""
        held = table.places_held(grams_G)
        return text_W[held[left_W[held] >= length]]

    def _long(self, grams: Sequence[Hashes]) -> Hit | None:
        owners = self.long.owners(grams[LONG])
        if not len(owners):
            return None
        counted = Counter(owners.tolist())
        index = min(counted, key=lambda owner: (-counted[owner], owner))
        is_whole = counted[index] >= self.num_words[index] - LONG + 1
        return self._hit(index, "exact" if is_whole else "13-gram")

    def _exact(self, grams: Sequence[Hashes]) -> Hit | None:
        for length in self.lengths:
            if length < SHORT and len(grams[length]) != 1:
                continue  # so few words are only told from others where they are the whole text
            owners = self.whole[length].owners(grams[length])
            if len(owners):
                return self._hit(int(owners[0]), "exact")
        return None

    def _overlapping(self, grams: Sequence[Hashes]) -> Hit | None:
        counted = Counter(self.overlap.owners(np.unique(grams[OVERLAP])).tolist())
        shares = {index: count / self.num_overlap_grams[index] for index, count in counted.items()}
        index = max(shares, key=lambda owner: (shares[owner], -owner), default=None)
        return self._hit(index, "overlap") if index is not None and shares[index] >= OVERLAP_SHARE else None

    def _hit(self, index: int, rule: str) -> Hit:
        item = self.items[index]
        return Hit(item.benchmark, item.id, rule, item.text[:200])

    @staticmethod
    def _table(hashed: Sequence[Hashes], members: Sequence[int], n: int) -> GramTable:
        return GramTable([np.unique(gram_hashes(hashed[index], n)) for index in members], members)
