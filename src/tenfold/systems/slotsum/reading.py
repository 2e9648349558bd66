"""A text made ready for alignment: its words, those that carry meaning, and where each stands."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

from rapidfuzz import fuzz, process

from tenfold.systems.slotsum.dates import Date, find_dates
from tenfold.systems.slotsum.tokens import STOP_WORDS, Token, tokenize

NEAR = 88.0
"""The least likeness of two words of which one may be misspelt: Avocado, Advocado; not Austria, Australia."""
SHORTEST_NEAR = 5


class Reading:
    """The tokens of a text, and its content tokens (all but function words) by their word."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.content = [place for place, token in enumerate(self.tokens) if token.folded not in STOP_WORDS]
        self._places: dict[str, list[int]] = defaultdict(list)
        for rank, place in enumerate(self.content):
            self._places[self.tokens[place].folded].append(rank)
        self._near: dict[str, list[int]] = {}

    @cached_property
    def dates(self) -> list[tuple[int, int, Date]]:
        return list(find_dates(self.text))

    @cached_property
    def _long_words(self) -> list[str]:
        return [word for word in self._places if len(word) >= SHORTEST_NEAR and word.isalpha()]

    def ranks(self, word: str) -> Sequence[int]:
        """Where among the content tokens a word stands; if nowhere, where one stands that is nearly spelt like it."""
        if word in self._places:
            return self._places[word]
        if word not in self._near:
            found = process.extract(word, self._long_words, scorer=fuzz.ratio, score_cutoff=NEAR) if len(word) > 4 else []
            self._near[word] = [rank for name, _, _ in found if name[0] == word[0] for rank in self._places[name]]
        return self._near[word]

    def window(self, begin: int, stop: int) -> list[Token]:
        """The content tokens of ranks [begin, stop)."""
        return [self.tokens[place] for place in self.content[begin:stop]]
