"""Where the facts of an entity stand in its text: (text, facts) come in, spans that do not overlap go out.

Windows share a word with the form they are compared with (the anchor), so the work grows with matches and not with the text.
Selection is weighted interval scheduling, exact; a cost per span keeps "United States" from being split in two.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rapidfuzz import fuzz

from tenfold.systems.slotsum.dates import find_dates
from tenfold.systems.slotsum.forms import Form, forms
from tenfold.systems.slotsum.tokens import STOP_WORDS, Token, tokenize
from tenfold.systems.slotsum.values import NUMBER, NUMBER_WORDS, SCALES, Value, parse_value, read_number

SPAN_COST = 3.0  # in characters
CLAUSE_END = re.compile(r"[!?;。！？]|\.\s+(?=[A-Z])")


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of the text that say the value of a key; score in (0, 1]."""

    start: int
    end: int
    key: str
    kind: str
    score: float
    value: str = ""
    """The raw value of the key that is said here."""

    @property
    def worth(self) -> float:
        return self.score * (self.end - self.start) + SPAN_COST * (self.score - 1) + 1e-9


def align(text: str, facts: Sequence[tuple[str, str]]) -> list[Span]:
    """The spans of the facts, (key, raw value) pairs, in reading order."""
    tokens = tokenize(text)
    places: dict[str, list[int]] = defaultdict(list)
    for place, token in enumerate(tokens):
        places[token.folded].append(place)
    dates = list(find_dates(text))
    candidates: list[Span] = []
    for key, raw in facts:
        value = parse_value(raw)
        for start, end, score in _places_of(value, text, tokens, places):
            candidates.append(Span(start, end, key, value.kind, score, raw))
        if value.date:
            hits = ((start, end, date) for start, end, date in dates if date.agrees(value.date))
            for start, end, date in hits:
                if date.year is not None or date.month is not None:
                    shared = sum(part is not None for part in date.parts)
                    candidates.append(Span(start, end, key, "date", min(1.0, 0.7 + 0.1 * shared), raw))
    return select(candidates)


def _places_of(
    value: Value, text: str, tokens: Sequence[Token], places: Mapping[str, Sequence[int]]
) -> Iterator[tuple[int, int, float]]:
    for form in forms(value):
        yield from _windows(form, text, tokens, places)
    if value.amount is not None:
        yield from _numbers(value, text, tokens)


def _windows(
    form: Form, text: str, tokens: Sequence[Token], places: Mapping[str, Sequence[int]]
) -> Iterator[tuple[int, int, float]]:
    """Windows of n +- 2 words around an anchor whose sorted words are like the form's."""
    size, target = len(form.words), " ".join(sorted(form.words))
    seen: set[tuple[int, int]] = set()
    slack = 0 if form.ratio == 100.0 else min(2, size - 1)
    for offset, word in enumerate(form.words):
        if word in STOP_WORDS and size > 1:
            continue
        for place in places.get(word, ()):
            for begin in range(max(0, place - offset - slack), place + 1):
                for length in range(max(1, size - slack), size + slack + 1):
                    stop = begin + length
                    if stop <= place or stop > len(tokens) or (begin, stop) in seen:
                        continue
                    seen.add((begin, stop))
                    window = tokens[begin:stop]
                    ratio = fuzz.ratio(target, " ".join(sorted(token.folded for token in window)), score_cutoff=form.ratio)
                    if ratio and _is_window(form, text, window):
                        yield window[0].start, window[-1].end, form.weight * ratio / 100


def _is_window(form: Form, text: str, window: Sequence[Token]) -> bool:
    first, last = window[0], window[-1]
    if form.capital and not text[first.start].isupper():
        return False
    if any(
        token.folded in STOP_WORDS and token.folded != word
        for token, word in ((first, form.words[0]), (last, form.words[-1]))
    ):
        return False
    numbers = {token.folded for token in window if token.folded[0].isdigit()}
    if numbers != {word for word in form.words if word[0].isdigit()}:
        return False
    return _is_exact(form, window) or not CLAUSE_END.search(text, first.end, last.start)


def _is_exact(form: Form, window: Sequence[Token]) -> bool:
    """Whether the window has the very words of the form."""
    return tuple(token.folded for token in window) == form.words


def _numbers(value: Value, text: str, tokens: Sequence[Token]) -> Iterator[tuple[int, int, float]]:
    """Numbers of the text that mean the value, with the unit that follows them."""
    assert value.amount is not None
    units = {token.folded for token in tokenize(value.unit)}
    for place, token in enumerate(tokens):
        found = _number_at(tokens, place)
        if found is None:
            continue
        amount, stop = found
        score = _number_score(value.amount, amount)
        if score:
            while stop < len(tokens) and tokens[stop].folded in units and tokens[stop].start - tokens[stop - 1].end <= 2:
                stop += 1
            yield token.start, tokens[stop - 1].end, score


def _number_at(tokens: Sequence[Token], place: int) -> tuple[Decimal, int] | None:
    word = tokens[place].folded
    if word in NUMBER_WORDS:
        amount = Decimal(NUMBER_WORDS[word])
    elif NUMBER.fullmatch(word):
        amount = read_number(word)
    else:
        return None
    scale = SCALES.get(tokens[place + 1].folded) if place + 1 < len(tokens) else None
    return (amount * scale, place + 2) if scale else (amount, place + 1)


def _number_score(wanted: Decimal, found: Decimal) -> float:
    if wanted == found:
        return 0.98
    places = -int(found.as_tuple().exponent)
    return 0.90 if abs(wanted) >= 10 and places >= 0 and round(wanted, places) == found else 0.0


def select(candidates: Sequence[Span]) -> list[Span]:
    """The spans without overlap whose total worth is greatest (weighted interval scheduling, exact)."""
    ordered = sorted(candidates, key=lambda span: (span.end, span.start))
    ends = [span.end for span in ordered]
    best: list[float] = [0.0]
    taken: list[bool] = []
    for number, span in enumerate(ordered):
        before = bisect_right(ends, span.start, 0, number)
        taken.append(best[before] + span.worth > best[-1])
        best.append(max(best[-1], best[before] + span.worth))
    return _chosen(ordered, ends, taken)


def _chosen(ordered: Sequence[Span], ends: Sequence[int], taken: Sequence[bool]) -> list[Span]:
    chosen: list[Span] = []
    number = len(ordered)
    while number:
        if taken[number - 1]:
            chosen.append(ordered[number - 1])
            number = bisect_right(ends, chosen[-1].start, 0, number - 1)
        else:
            number -= 1
    return chosen[::-1]
