"""Drafts for the certificate: a tree of any shape, its tokens drawn or chosen in each of the ways that drafters use."""

# q the draft's law, n drafted tokens, V vocabulary
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tenfold.nn.drafting import ROOT, Draft, StateScope
from tenfold.systems.specdec.laws import Law, without
from tenfold.systems.specdec.randomness import Randomness

Guess = Callable[[Law, Sequence[int], int, Randomness], tuple[int, Law | None]]
"""(q, earlier siblings' tokens, position, randomness) -> a token and the law it was drawn from (None: chosen)."""

LawAfter = Callable[[Sequence[int]], Law]
"""The law of the token after a text."""


def with_replacement(q_V: Law, siblings: Sequence[int], position: int, randomness: Randomness) -> tuple[int, Law | None]:
    return randomness.draw(q_V), q_V


def without_replacement(q_V: Law, siblings: Sequence[int], position: int, randomness: Randomness) -> tuple[int, Law | None]:
    rest_V = without(siblings, q_V)
    return randomness.draw(rest_V), rest_V


def likeliest(q_V: Law, siblings: Sequence[int], position: int, randomness: Randomness) -> tuple[int, Law | None]:
    """The likeliest token that no sibling holds."""
    return int(without(siblings, q_V).argmax()), None


def same_noise(q_V: Law, siblings: Sequence[int], position: int, randomness: Randomness) -> tuple[int, Law | None]:
    """Drawn with the very noise that the target will use at this position."""
    return randomness.draw_at(position, q_V), None


GUESSES: Mapping[str, Guess] = {
    "with replacement": with_replacement,
    "without replacement": without_replacement,
    "likeliest": likeliest,
    "same noise": same_noise,
}


def grow(
    shape: Sequence[int], context: Sequence[int], law_after: LawAfter, guess: Guess, randomness: Randomness
) -> tuple[Draft, list[Law] | None]:
    """Fills a tree, given by its parents, with tokens; also returns each node's law, or None if some token was chosen."""
    tree = Draft((), shape, "table")
    tokens: list[int] = []
    laws: list[Law | None] = []
    for node, parent in enumerate(shape):
        text = [*context, *(tokens[step] for step in tree.path(parent))]
        siblings = [tokens[earlier] for earlier in range(node) if shape[earlier] == parent]
        token, law_V = guess(law_after(text), siblings, len(text), randomness)
        tokens.append(token)
        laws.append(law_V)
    drawn_from = [law_V for law_V in laws if law_V is not None]
    return Draft(tokens, shape, "table"), drawn_from if len(drawn_from) == len(laws) else None


class TableDrafter:
    """Grows as much of `shape` as there is room for; `recorded` makes of each node's law what the draft carries."""

    name = "table"
    state: StateScope = "none"

    def __init__(
        self,
        shape: Sequence[int],
        law_after: LawAfter,
        guess: Guess,
        randomness: Randomness,
        recorded: Callable[[Law, Sequence[int]], Law],
    ) -> None:
        self.shape, self.law_after, self.guess = shape, law_after, guess
        self.randomness, self.recorded = randomness, recorded

    def reset(self) -> None:
        """Nothing to forget."""

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        draft, laws = grow(self.shape[:num_tokens], context, self.law_after, self.guess, self.randomness)
        if laws is None:
            return draft
        texts = [[*context, *(draft.tokens[step] for step in draft.path(parent))] for parent in draft.parents]
        rows_nV = [self.recorded(law_V, text) for law_V, text in zip(laws, texts, strict=True)]
        return Draft(draft.tokens, draft.parents, self.name, law_nV=torch.from_numpy(np.stack(rows_nV)))

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        """Nothing to learn."""


def chain(num_tokens: int) -> Sequence[int]:
    """The shape of a chain."""
    return range(ROOT, num_tokens - 1)
