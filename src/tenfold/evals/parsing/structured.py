"""The choice in a structured reply: an answer field of JSON, an answer tag, a LaTeX box."""

import json
import re
from collections.abc import Iterator

KEY = r"(?:(?:final|correct|selected|chosen|my)[_\s]?)*(?:answer|choice|option|letter|selection|prediction|label)"
FIELD = re.compile(rf"[\"']{KEY}(?:_?letter)?[\"']\s*:\s*", re.IGNORECASE)
LOOSE_VALUE = re.compile(r"'([^'\n]*)'|([A-Za-z])\b")
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
TAG = re.compile(r"<(answer|final_answer|choice)>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
LATEX = re.compile(r"\\[A-Za-z]+\s*|[{}$\\]")
Span = tuple[int, int]


def json_answer(answer: str) -> tuple[object, Span] | None:
    """The value of the last answer field of JSON-like text (None for null) and its span; nothing if there is no field."""
    found = list(_fields(answer))
    return found[-1] if found else None


def tagged(answer: str) -> tuple[str, Span] | None:
    """What the last answer tag holds, and its span."""
    found = list(TAG.finditer(answer))
    return (found[-1].group(2).strip(), found[-1].span(2)) if found else None


def boxed(answer: str) -> tuple[str, Span] | None:
    """What the last LaTeX box holds, less its own commands, and its span."""
    starts = list(BOX.finditer(answer))
    if not starts:
        return None
    start = end = starts[-1].end()
    depth = 1
    while end < len(answer) and depth:
        depth += {"{": 1, "}": -1}.get(answer[end], 0)
        end += 1
    inside = answer[start : end - 1] if depth == 0 else answer[start:end]
    return LATEX.sub(" ", inside).strip(), (start, end)


def _fields(answer: str) -> Iterator[tuple[object, Span]]:
    decoder = json.JSONDecoder()
    for match in FIELD.finditer(answer):
        try:
            value, end = decoder.raw_decode(answer, match.end())
            yield value, (match.end(), end)
        except (ValueError, RecursionError):
            loose = LOOSE_VALUE.match(answer, match.end())
            if loose:
                yield loose.group(1) or loose.group(2), loose.span()
