"""Lookahead decoding: the target iterates on guesses of its own future beside the text, and its n-grams are drafts.

Fu et al., "Break the Sequential Dependency of LLM Inference Using Lookahead Decoding", arXiv 2402.02057; survey,
section 4.2. A window of W columns holds the last N - 1 Jacobi iterations. Column i hangs below place i of the oldest
iteration, which is a chain after the context, so that the paper's attention mask is a token tree: the window travels
as part of the draft, (W + G)(N - 1) nodes with the G n-grams to verify, and where it happens to be right it is
accepted like any draft. The target's choice after each column completes an n-gram for the pool. Unlike the paper's,
the window moves on by as many columns as tokens were accepted. With N = 2 and G = 0 this is Jacobi decoding, a chain.
"""

# K query rows of a pass
from collections.abc import Sequence

from torch import Tensor

from tenfold.nn.drafting import NOTHING, ROOT, Draft, StateScope
from tenfold.systems.specdec.drafters.continuations import Growth, child_of, followed

Columns = list[list[int]]
"""Per column of the window, its token in each iteration, the oldest first."""


class LookaheadDrafter:
    """Window W, level N and `num_ngrams` G as in the paper; it learns only from passes over its own drafts."""

    state: StateScope = "request"

    def __init__(self, *, window: int = 3, level: int = 3, num_ngrams: int = 2) -> None:
        if window < 1 or level < 2 or num_ngrams < 0:
            raise ValueError(f"window is {window}, level {level}, num_ngrams {num_ngrams}; we need at least 1, 2 and 0")
        self.name = "lookahead" if num_ngrams else "jacobi"
        self.window, self.level, self.num_ngrams = window, level, num_ngrams
        self.reset()

    def reset(self) -> None:
        self.pool: dict[int, list[Sequence[int]]] = {}
        self.columns: Columns = []
        self.draft, self.ends = NOTHING, []

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        """N-grams that begin with the last token first, then as many columns of the window as fit."""
        self.columns = self.columns or _first_columns(context, self.window)
        growth = Growth()
        for ngram in reversed(self.pool.get(context[-1], ())):
            _hang(growth, ROOT, ngram, num_tokens)
        self.ends = self._hang_window(growth, num_tokens)
        self.draft = growth.draft(self.name)
        return self.draft

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        if draft is not self.draft or draft is NOTHING:
            return
        choice_K = logits_KV.argmax(-1).tolist()
        for column, end in zip(self.columns, self.ends, strict=False):
            column.append(choice_K[end + 1])
            if len(column) == self.level:
                self._remember(column)
                del column[0]
        self._align()
        num_accepted = len(followed(draft, emitted))
        turn = num_accepted % len(self.columns)
        self.columns = self.columns[turn:] + self.columns[:turn]

    def _hang_window(self, growth: Growth, num_tokens: int) -> list[int]:
        """Draws the columns; returns the last node of each, as far as all of it fits."""
        ends: list[int] = []
        place = ROOT
        for column in self.columns:
            place = _hang(growth, place, column[:1], num_tokens)
            end = _hang(growth, place, column[1:], num_tokens) if place is not None else None
            if place is None or end is None:
                break
            ends.append(end)
        return ends

    def _remember(self, ngram: Sequence[int]) -> None:
        """The pool keeps the newest G n-grams of each first token."""
        known = self.pool.setdefault(ngram[0], [])
        rest = tuple(ngram[1:])
        if rest in known:
            known.remove(rest)
        known.append(rest)
        del known[: max(0, len(known) - self.num_ngrams)]

    def _align(self) -> None:
        """Columns that did not fit into the draft keep as many iterations as the others by repeating their newest."""
        iterations = max(map(len, self.columns))
        for column in self.columns:
            column += column[-1:] * (iterations - len(column))


def jacobi(*, window: int = 7) -> LookaheadDrafter:
    """Jacobi decoding: a chain of the target's own latest choices for the places ahead."""
    return LookaheadDrafter(window=window, level=2, num_ngrams=0)


def _first_columns(context: Sequence[int], window: int) -> Columns:
    """Before the first pass: the context's last tokens, over and over."""
    recent = context[-window:]
    return [[recent[column % len(recent)]] for column in range(window)]


def _hang(growth: Growth, parent: int, tokens: Sequence[int], num_tokens: int) -> int | None:
    """Adds a path below `parent`, sharing nodes that are there already; its last node, or None if it does not fit."""
    for token in tokens:
        child = child_of(growth, parent, token)
        if child is None:
            if len(growth.tokens) == num_tokens:
                return None
            child = growth.add(parent, (token, 1.0))
        parent = child
    return parent
