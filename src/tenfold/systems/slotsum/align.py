"""Where the facts of an entity stand in its text: (text, facts) come in, spans that do not overlap go out.

Windows of content words share a word with the form they are compared with (the anchor), so the work grows with matches and
not with the text. Selection is weighted interval scheduling, exact. A span is worth no more than the form it says,
so that no window gains by taking more words in; a cost per span keeps "United States" from being split in two.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from rapidfuzz import fuzz

from tenfold.systems.slotsum.forms import Form, forms
from tenfold.systems.slotsum.reading import Reading
from tenfold.systems.slotsum.tokens import STOP_WORDS, Token, is_ideograph, tokenize
from tenfold.systems.slotsum.units import UNITS, shared_scale
from tenfold.systems.slotsum.values import NUMBER, NUMBER_WORDS, SCALES, Value, parse_value, read_number

SPAN_COST = 0.5  # in characters
NEAR_WORD = 78.0
"""Likeness from which two words of a window and its form count as one word, misspelt."""
CLAUSE_WORDS = frozenset(
    [
        "who",
        "which",
        "that",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "has",
        "have",
        "had",
        "where",
        "it",
        "he",
        "she",
        "they",
        "also",
    ]
)
CLAUSE_END = re.compile(r"[!?;。！？]|(?<=[a-z\d)]{2})[.]\s*(?=[A-Z])")


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
    most: int = 10**6
    """Characters of the form that is said; more of the text count for nothing."""

    @property
    def worth(self) -> float:
        return self.score * min(self.end - self.start, self.most) - SPAN_COST


def align(text: str, facts: Sequence[tuple[str, str]]) -> list[Span]:
    """The spans of the facts, (key, raw value) pairs, in reading order."""
    reading = Reading(text)
    return select([span for key, raw in facts for span in candidates(reading, key, raw)])


def candidates(reading: Reading, key: str, raw: str) -> Iterator[Span]:
    """Every place that may say the value; places may overlap."""
    value = parse_value(raw)
    for form in forms(value):
        most = len(" ".join(form.words))
        for start, end, score in _windows(form, reading):
            yield Span(start, end, key, value.kind, score, raw, most)
    if value.amount is not None:
        yield from (Span(start, end, key, value.kind, score, raw) for start, end, score in _numbers(value, reading))
    for start, end, date in reading.dates if value.date else ():
        if value.date and date.agrees(value.date) and (date.year is not None or date.month is not None):
            shared = sum(part is not None for part in date.parts)
            yield Span(start, end, key, "date", min(1.0, 0.7 + 0.1 * shared), raw)


def _windows(form: Form, reading: Reading) -> Iterator[tuple[int, int, float]]:
    """Windows of n +- 2 content words around an anchor whose sorted words are like the form's."""
    kept = [word for word in form.words if word not in STOP_WORDS]
    if not kept:
        yield from _verbatim(form, reading)
        return
    size, target = len(kept), " ".join(sorted(kept))
    in_order = any(is_ideograph(word) for word in kept)  # Chinese characters in another order are another word
    slack = 0 if form.ratio == 100.0 or in_order else min(2, size - 1)
    seen: set[tuple[int, int]] = set()
    for offset, word in enumerate(kept):
        for place in reading.ranks(word):
            for begin in range(max(0, place - offset - slack), place + 1):
                for stop in range(max(begin + max(1, size - slack), place + 1), begin + size + slack + 1):
                    if stop > len(reading.content) or (begin, stop) in seen:
                        continue
                    seen.add((begin, stop))
                    window = reading.window(begin, stop)
                    if in_order and [token.folded for token in window] != kept:
                        continue
                    ratio = fuzz.ratio(target, " ".join(sorted(token.folded for token in window)), score_cutoff=form.ratio)
                    if ratio and _is_window(form, kept, reading, begin, stop):
                        yield _start(form, reading, begin), window[-1].end, form.weight * ratio / 100


def _start(form: Form, reading: Reading, begin: int) -> int:
    """Where the window begins: also with the function word before it, if the form begins with that word."""
    place = reading.content[begin]
    before = reading.tokens[place - 1] if place else None
    is_said = before is not None and form.words[0] in STOP_WORDS and before.folded == form.words[0]
    return before.start if before is not None and is_said else reading.tokens[place].start


def _verbatim(form: Form, reading: Reading) -> Iterator[tuple[int, int, float]]:
    """A form of function words alone, such as "It" or "The Who", is found only as it is written."""
    size = len(form.words)
    for begin in range(len(reading.tokens) - size + 1):
        window = reading.tokens[begin : begin + size]
        if size and tuple(token.folded for token in window) == form.words and reading.text[window[0].start].isupper():
            yield window[0].start, window[-1].end, form.weight


def _is_window(form: Form, kept: Sequence[str], reading: Reading, begin: int, stop: int) -> bool:
    window = reading.window(begin, stop)
    if form.capital and not reading.text[window[0].start].isupper():
        return False
    said = [token.folded for token in window]
    if {word for word in said if word[0].isdigit()} != {word for word in kept if word[0].isdigit()}:
        return False
    if not _is_one_phrase(form, reading, begin, stop):
        return False
    return said == list(kept) or (
        _says(said, kept) and not CLAUSE_END.search(reading.text, window[0].end - 2, window[-1].start)
    )


def _is_one_phrase(form: Form, reading: Reading, begin: int, stop: int) -> bool:
    """Whether only a few function words, and no beginning of a clause, stand between the content words."""
    places = reading.content[begin:stop]
    for first, second in pairwise(places):
        between = [token.folded for token in reading.tokens[first + 1 : second] if token.folded not in form.words]
        if len(between) > 2 or CLAUSE_WORDS & set(between):
            return False
    return True


def _says(said: Sequence[str], kept: Sequence[str]) -> bool:
    """Whether the window's words are the form's, possibly misspelt; a long form may have one foreign word inside."""
    spare = set(kept) - set(said)
    foreign = [
        place
        for place, word in enumerate(said)
        if word not in kept and not any(fuzz.ratio(word, other) >= NEAR_WORD for other in spare)
    ]
    is_inside = len(foreign) == 1 and 0 < foreign[0] < len(said) - 1
    return not foreign or (len(kept) > 2 and is_inside and set(kept) <= set(said))


def _numbers(value: Value, reading: Reading) -> Iterator[tuple[int, int, float]]:
    """Numbers of the text that mean the value, with the unit that follows them."""
    tokens = reading.tokens
    units = {token.folded for token in tokenize(value.unit)}
    for place, token in enumerate(tokens):
        found = _number_at(tokens, place)
        if found is None:
            continue
        amount, stop = found
        unit = tokens[stop].folded if stop < len(tokens) and tokens[stop].folded in UNITS and _touch(tokens, stop) else ""
        score = _number_score(value, amount, unit)
        if score:
            while (
                stop < len(tokens) and (tokens[stop].folded in units or tokens[stop].folded == unit) and _touch(tokens, stop)
            ):
                stop += 1
            yield token.start, tokens[stop - 1].end, score


def _touch(tokens: Sequence[Token], place: int) -> bool:
    return tokens[place].start - tokens[place - 1].end <= 2


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


def _number_score(value: Value, found: Decimal, unit: str) -> float:
    assert value.amount is not None
    if value.amount == found:
        return 0.98
    places = -int(found.as_tuple().exponent)
    if abs(value.amount) >= 10 and places >= 0 and round(value.amount, places) == found:
        return 0.90
    scale = shared_scale(value.unit or "m", unit) if unit and unit != value.unit else None
    converted = value.amount * scale[0] / scale[1] if scale else Decimal("NaN")
    return 0.90 if scale and found in (round(converted, max(places, 0)), int(converted)) else 0.0


def select(spans: Sequence[Span]) -> list[Span]:
    """The spans without overlap whose total worth is greatest (weighted interval scheduling, exact)."""
    ordered = sorted(spans, key=lambda span: (span.end, span.start))
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
