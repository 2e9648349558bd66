"""What an answer says at its end: verdict lines, and the number it commits itself to.

Numbers are exact rationals. The last line that begins with `ANSWER:` counts before the last `\\boxed`, and that before
the last number of the text (ump.md section 5). Any text is accepted, also an empty one or one full of NULs.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Verdict = Literal["solvable", "flawed"]
Place = Literal["line", "box", "last"]

LINE = re.compile(
    r"^[ \t>*_#-]{0,8}(verdict|flaw|repair|answer)\b[*_ \t]{0,4}[:：][*_ \t]{0,4}(.*)$", re.IGNORECASE | re.MULTILINE
)
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}")
DIGITS = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"
NUMBER = re.compile(rf"(?<![\w.])[-−]?\$?(?:(?:{DIGITS})(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+(?![\w/]))?")
END_OF_THOUGHT = "</think>"


@dataclass(frozen=True)
class Final:
    """The number at the end of an answer, and where it stood."""

    value: Fraction
    place: Place
    start: int


@dataclass(frozen=True)
class VerdictLines:
    """The lines that a template may ask for; empty where there is none."""

    verdict: Verdict | None = None
    flaw: str = ""
    repair: str = ""
    answer: str = ""


def visible(answer: str) -> str:
    """The answer without the reasoning before `</think>`; all of it where nothing follows."""
    after = answer.rpartition(END_OF_THOUGHT)[2]
    return after if after.strip() else answer


def read_lines(answer: str) -> VerdictLines:
    """The last line of each kind in the visible answer."""
    found = {name.lower(): text.strip(" \t*_`") for name, text in LINE.findall(visible(answer))}
    words = found.get("verdict", "").lower()
    flawed, solvable = "flawed" in words, "solvable" in words
    verdict: Verdict | None = None if flawed == solvable else "flawed" if flawed else "solvable"
    return VerdictLines(verdict, found.get("flaw", ""), found.get("repair", ""), found.get("answer", ""))


def without_lines(answer: str) -> str:
    """The answer as a judge may see it: no verdict lines, so that no template buys its mark by its format.

    Of an `ANSWER:` line the label goes and the rest stays, as if the answer had ended on it unasked.
    """
    return LINE.sub(lambda match: match.group(2) if match.group(1).lower() == "answer" else "", answer)


def final_number(answer: str) -> Final | None:
    """The number that the visible answer ends on; None where it ends on none, as in `\\boxed{\\text{unknown}}`."""
    text = visible(answer)
    lines = [match for match in LINE.finditer(text) if match.group(1).lower() == "answer"]
    if lines:
        return _final(lines[-1].group(2), lines[-1].start(), "line")
    boxes = list(BOX.finditer(text))
    if boxes:
        return _final(boxes[-1].group(1), boxes[-1].start(), "box")
    numbers = _numbers(text)
    return Final(numbers[-1][1], "last", numbers[-1][0]) if numbers else None


def is_solved(answer: str, gold: str | None) -> bool:
    """Whether the answer ends on the gold number, exactly; never without a gold number."""
    final, expected = final_number(answer), to_number(gold or "")
    return final is not None and final.value == expected


def to_number(text: str) -> Fraction | None:
    """The last number in a text: 1,250, $3.50, 5/2, \\frac{5}{2}, 12 %; None where there is none."""
    numbers = _numbers(text)
    return numbers[-1][1] if numbers else None


def _final(text: str, start: int, place: Place) -> Final | None:
    value = to_number(text)
    return None if value is None else Final(value, place, start)


def _numbers(text: str) -> list[tuple[int, Fraction]]:
    plain = FRACTION.sub(r"\1/\2", text)
    found = ((match.start(), _fraction(match.group())) for match in NUMBER.finditer(plain))
    return [(start, value) for start, value in found if value is not None]


def _fraction(digits: str) -> Fraction | None:
    top, _, bottom = re.sub(r"[,$\s]", "", digits.replace("−", "-")).partition("/")
    try:
        return Fraction(top) / Fraction(bottom or "1")
    except (ValueError, ZeroDivisionError):
        return None
