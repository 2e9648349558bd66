"""Where a chunk ends. In: the text so far and the one token to come; out: yes or no.

The same function serves whole texts and decoding, so both cut alike. A chunker may look at one coming token; those that do
cannot be used in `inline` mode, where the sentinel itself must predict that token.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from tenfold.core.errors import ConfigError

TAIL = 32
"""Characters of the text so far that a chunker sees."""
STOPS = ".!?…؟।۔።"
CJK_STOPS = "。！？．｡"
CLOSERS = "\"'”’»)]}*_"
CJK_CLOSERS = "」』”’）】》〉"
WORD = rf"[^\s{re.escape(STOPS)}]"
END = re.compile(rf"(?P<word>{WORD}*(?:\.{WORD}+)*)(?P<stop>[{STOPS}]+)[{re.escape(CLOSERS)}]*(?P<space>\s*)$")
CJK_END = re.compile(rf"[{CJK_STOPS}][{re.escape(CJK_CLOSERS)}]*\s*$")
LINE_END = re.compile(r"\n[^\S\n]*$")
PARAGRAPH_END = re.compile(r"\n\s*\n\s*$")
INITIALS = re.compile(r"^(?:[^\W\d_]\.)*[^\W\d_]$")
TITLES = "mr mrs ms dr st prof rev hon jr sr gen col capt lt sgt maj gov sen rep pres messrs mme mlle"
MONTHS = "jan feb mar apr jun jul aug sep sept oct nov dec"
OTHERS = "vs cf al approx dept inc ltd corp viz ibid"
ABBREVIATIONS = frozenset(f"{TITLES} {MONTHS} {OTHERS}".split())
BEFORE_NUMBERS = frozenset({"no", "nos", "vol", "fig", "figs", "p", "pp", "ch", "art", "sec", "eq"})
"""Words that are abbreviations only where a number follows."""
PUNCTUATION = ".,;:!?…，。；：！？、"


@dataclass(frozen=True)
class Place:
    """A place between two tokens."""

    tail: str
    """The last characters of the text so far; they end with a whole character."""
    following: str
    """The coming token's text; U+FFFD stands for a character that it only begins. Empty where nobody may look."""
    num_tokens: int
    """Tokens of the chunk so far."""
    nats: float | None = None
    """How much the coming token surprises the model."""
    ordinal: int = 0
    """Number of the last token within its text."""


@dataclass(frozen=True)
class Chunker:
    """A rule with what it needs to look at."""

    boundary: Callable[[Place], bool]
    looks_ahead: bool


def chunker(name: str) -> Chunker:
    """The chunker of a name, with its argument after a colon.

    Raises:
        ConfigError: no such chunker, or an argument that it does not take.
    """
    kind, _, argument = name.partition(":")
    if kind == "sentence" and not argument:
        return Chunker(ends_sentence, looks_ahead=True)
    if kind == "paragraph" and not argument:
        return Chunker(lambda place: bool(PARAGRAPH_END.search(place.tail)), looks_ahead=False)
    if kind == "fixed":
        size = int(_number(name, argument))
        return Chunker(lambda place: place.num_tokens >= size, looks_ahead=False)
    if kind == "punct":
        marks = argument or PUNCTUATION
        return Chunker(lambda place: place.tail.rstrip()[-1:] in marks and bool(place.tail.strip()), looks_ahead=False)
    if kind == "surprisal":
        threshold = _number(name, argument)
        return Chunker(lambda place: place.nats is not None and place.nats > threshold, looks_ahead=True)
    if kind == "random":
        return Chunker(_random_places(_number(name, argument)), looks_ahead=False)
    raise ConfigError(
        f"unknown chunker {name!r}; sentence, fixed:n, paragraph, punct, punct:marks, surprisal:nats and random:n "
        "are accepted"
    )


def ends_sentence(place: Place) -> bool:
    """Whether a sentence or a line ends here, in any language that marks either."""
    if LINE_END.search(place.tail):
        return not place.following.lstrip(" \t").startswith("\n")
    if CJK_END.search(place.tail):
        return place.following[:1] not in CJK_CLOSERS
    found = END.search(place.tail)
    return (
        bool(found)
        and _opens(place.following, after_space=bool(found["space"]))
        and not _is_abbreviation(found, place.following)
    )


def ends_paragraph(tail: str) -> bool:
    """Whether an empty line has just ended."""
    return bool(PARAGRAPH_END.search(tail))


def _opens(following: str, *, after_space: bool) -> bool:
    """Whether a new sentence may begin with this token."""
    start = following.lstrip(" \t")
    if not start or start.startswith("\n") or not (after_space or start != following):
        return False
    first = start[0]
    return (first.isalnum() and not first.islower()) or first in "\"'“‘«([{*_—–-¿¡<#\ufffd"


def _is_abbreviation(found: re.Match[str], following: str) -> bool:
    word = found["word"].lstrip("(\"'“‘[")
    if found["stop"] != "." or not word:
        return False
    if word.lower() in BEFORE_NUMBERS:
        return following.lstrip()[:1].isdigit()
    return word.lower() in ABBREVIATIONS or bool(INITIALS.match(word))


def _random_places(size: float) -> Callable[[Place], bool]:
    """Chunks of `size` tokens on average; the places depend on the token's number alone, not on the text."""

    def boundary(place: Place) -> bool:
        return random.Random(place.ordinal).random() < 1 / size

    return boundary


def _number(name: str, argument: str) -> float:
    try:
        value = float(argument)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise ConfigError(f"chunker {name!r} needs a number above 0 after the colon, such as {name.partition(':')[0]}:32")
    return value
