"""Suffix matching: what followed the longest suffix of the context, in the context itself or in a larger text.

Survey, section 4.2; Oliaro et al., "SuffixDecoding", arXiv 2411.04975; Hu et al., "SAM Decoding", arXiv 2411.10666.
The local automaton holds prompt and output. A global one, either an index built beforehand or the texts of earlier
requests, speaks instead where its match has at least `global_match` tokens and that many more than the local one.
A draft is at most `factor` times as long as the match and ends where its path becomes improbable. Counts give the
probabilities: n of m occurrences, of which the newest counts twice, give n / (m + 3 / match length), because a short match
proves little.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tenfold.nn.drafting import Draft, StateScope
from tenfold.systems.specdec.drafters.continuations import Candidate, Limits, Shape, grow
from tenfold.systems.specdec.drafters.earlier_requests import EarlierRequests
from tenfold.systems.specdec.drafters.suffix_automaton import START, Automaton, SuffixAutomaton, follow

MAX_SIBLINGS = 8
DOUBT = 3.0
"""Sets what a single occurrence is worth: 2 / (2 + 3 / length), that is .40, .57, .67, .82 at 1, 2, 3, 7 matched tokens."""


@dataclass(frozen=True)
class Match:
    """A suffix of the context found in an automaton: the place of a continuation."""

    automaton: Automaton
    state: int
    length: int


class SuffixDrafter:
    """Drafts from the local automaton, and from `index` or from at most `remembered_tokens` of earlier requests."""

    name = "suffix"

    def __init__(
        self,
        *,
        shape: Shape = "chain",
        factor: float = 1.0,
        min_path_confidence: float = 0.1,
        index: Automaton | None = None,
        remembered_tokens: int = 0,
        global_match: int = 5,
    ) -> None:
        if factor <= 0:
            raise ValueError(f"factor is {factor}; drafted tokens per matched token must be above 0")
        if index is not None and remembered_tokens:
            raise ValueError("index and remembered_tokens are both given; the global automaton is the one or the other")
        self.shape: Shape = shape
        self.factor, self.min_path_confidence, self.global_match = factor, min_path_confidence, global_match
        self.index, self.earlier = index, EarlierRequests(remembered_tokens)
        self.state: StateScope = "corpus" if index is not None else "process" if remembered_tokens else "request"
        self.text: list[int] = []
        self.reset()

    def reset(self) -> None:
        """Starts a new request; the text of the last one is remembered if there is room for it."""
        self.earlier.remember(self.text)
        self.text, self.local = [], SuffixAutomaton()
        self.found = Match(self.index or self.earlier.automaton, START, 0)

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        match = self.locate(context, num_tokens)
        limits = Limits(num_tokens, int(self.factor * match.length), self.min_path_confidence)
        return grow(self, match, self.shape, limits, source=f"{self.name}-{min(match.length, 8)}")

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        """Nothing to learn: the context holds it all."""

    def locate(self, context: Sequence[int], num_tokens: int) -> Match:
        """Reads what is new of `context`, and finds the match to draft from."""
        self._read(context[len(self.text) :])
        local = Match(self.local, self.local.repeated, self.local.length[self.local.repeated])
        if self.found.length >= self.global_match + local.length:
            self._note_use(self.found)
            return self.found
        return local

    def candidates(self, place: Match) -> Sequence[Candidate]:
        if place.length == 0:
            return ()
        weights = self._weights(place)
        total = sum(weights.values()) + DOUBT / place.length
        ranked = sorted(weights, key=lambda token: -weights[token])
        return [(token, weights[token] / total) for token in ranked[:MAX_SIBLINGS] if token >= 0]

    def after(self, place: Match, token: int) -> Match:
        return Match(place.automaton, *follow(place.automaton, place.state, place.length, token))

    @staticmethod
    def _weights(place: Match) -> dict[int, int]:
        """How often each token followed; the newest follower once more, and first among equals."""
        followers = place.automaton.followers(place.state)
        newest_of, count_of = place.automaton.newest, place.automaton.count
        by_age = sorted(followers, key=lambda token: -newest_of[followers[token]])
        return {token: count_of[followers[token]] + (rank == 0) for rank, token in enumerate(by_age)}

    def _note_use(self, match: Match) -> None:
        if self.index is None:
            self.earlier.touch(match.automaton.newest[match.state])

    def _read(self, tokens: Sequence[int]) -> None:
        self.text += tokens
        self.local.extend(tokens)
        if self.state != "request":
            for token in tokens:
                self.found = self.after(self.found, token)
