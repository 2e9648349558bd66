"""Tokens of a text, folded for comparison: case, accents and width do not count, offsets stay those of the text."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

UNIT_LETTERS = r"(?:mm|cm|km|m|ft|kg|mg|g|lbs?|mi|h|metres?|meters?|feet|miles?|grams?|kilograms?|minutes?)\b"
TOKEN = re.compile(
    rf"\d++(?:[.,]\d++)*+(?:(?![^\W_])|(?={UNIT_LETTERS}))"  # a number with its marks, also before a unit: 28metre
    r"|(?<![^\W_])[^\W\d_](?:\.[^\W\d_])+(?![^\W_])\.?"  # initials: A.S., S.p.A
    r"|[\u3400-\u9fff\u3040-\u30ff]"  # one character of Chinese or Japanese
    r"|(?:(?![\u3400-\u9fff\u3040-\u30ff])[^\W_])+[\u0300-\u036f]*"
)
STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "by",
        "to",
        "for",
        "from",
        "with",
        "and",
        "or",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "it",
        "its",
        "his",
        "her",
        "their",
        "he",
        "she",
        "they",
        "who",
        "which",
        "that",
        "as",
        "this",
        "these",
        "where",
        "has",
        "have",
        "had",
        "s",
        "also",
    ]
)


IDEOGRAPHS = re.compile(r"[\u3400-\u9fff\u3040-\u30ff]")


@dataclass(frozen=True)
class Token:
    """A folded token and its characters [start, end) in the text."""

    folded: str
    start: int
    end: int


def is_ideograph(letter: str) -> bool:
    """Whether a character of Chinese or Japanese, which is a word of its own."""
    return bool(IDEOGRAPHS.match(letter))


@lru_cache(maxsize=65536)
def fold(text: str) -> str:
    """Comparison form: compatible width, no accents, no case."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return unicodedata.normalize("NFKC", plain).casefold()


def tokenize(text: str) -> list[Token]:
    """Words, numbers, initials and single Chinese characters."""
    return [Token(_folded(match[0]), match.start(), match.end()) for match in TOKEN.finditer(text)]


def words(text: str) -> tuple[str, ...]:
    """The folded tokens alone."""
    return tuple(token.folded for token in tokenize(text))


def _folded(token: str) -> str:
    return fold(token) if token[0].isdigit() else fold(token).replace(".", "")
