"""One round in Fractions: the production verifier against the target's own law, with no rounding anywhere.

A round emits one token or more; completed with the target's own tokens up to a fixed length, the text must have the
target's law. By induction over rounds that is losslessness.
"""

# p the target's law, q the draft's
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod

from tenfold.nn.drafting import Draft
from tenfold.systems.specdec.certificate.guesses import GUESSES, grow
from tenfold.systems.specdec.certificate.tables import Table
from tenfold.systems.specdec.laws import Law
from tenfold.systems.specdec.randomness import Randomness, Weight, outcomes
from tenfold.systems.specdec.verifiers.evidence import Evidence, Verifier

CONTEXT = (0,)
Text = tuple[int, ...]


@dataclass(frozen=True)
class ExactRound:
    """A draft of a shape (its parents), guessed in one of the ways of GUESSES, before a verifier."""

    verifier: Verifier
    shape: Sequence[int]
    guess: str
    target: Table
    draft: Table

    def emit(self, randomness: Randomness) -> Text:
        """The tokens that the round emits."""
        draft, laws = grow(self.shape, CONTEXT, self.draft.after, GUESSES[self.guess], randomness)
        verdict = self.verifier(self._evidence(draft, laws), randomness)
        return (*(draft.tokens[node] for node in verdict.accepted), verdict.next_token)

    def total_variation(self) -> Fraction:
        """Between the law of the completed text and the target's; 0 means equal."""
        emitted: dict[Text, Weight] = defaultdict(Fraction)
        for text, weight in outcomes(self.emit):
            emitted[text] += weight
        longest = max(Draft((), self.shape, "").depths) + 1
        texts = product(range(self.target.vocab_size), repeat=longest)
        return sum((abs(self._completed(text, emitted) - self._own(text)) for text in texts), Fraction(0)) / 2

    def _evidence(self, draft: Draft, laws: Sequence[Law] | None) -> Evidence:
        def p(node: int) -> Law:
            return self.target.after([*CONTEXT, *(draft.tokens[step] for step in draft.path(node))])

        return Evidence(draft, len(CONTEXT), p, None if laws is None else lambda node: laws[node])

    def _completed(self, text: Text, emitted: Mapping[Text, Weight]) -> Fraction:
        """The probability of `text` if a round begins it and the target's own tokens complete it."""
        shares = (
            Fraction(emitted.get(text[:length], 0)) * self._own(text, start=length) for length in range(1, len(text) + 1)
        )
        return sum(shares, Fraction(0))

    def _own(self, text: Text, start: int = 0) -> Fraction:
        """The target's probability of the tokens of `text` from `start` on."""
        return prod((self.target.after([*CONTEXT, *text[:i]])[text[i]] for i in range(start, len(text))), start=Fraction(1))
