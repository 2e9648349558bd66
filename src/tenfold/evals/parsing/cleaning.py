"""Makes an answer plain without moving a character, so that spans stay those of the answer as it came.

Reasoning in tags, emphasis marks and LaTeX dollars become spaces, full-width signs their plain twins.
"""

import re
from dataclasses import dataclass

TAG = re.compile(
    r"[<\[\u25c1]\|?(?P<end>/|end_of_)?(?:begin_of_)?"
    r"(?:think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad)\|?[>\]\u25b7]",
    re.IGNORECASE,
)
NEXT_QUESTION = re.compile(r"\n[ \t#]*+(?:question|q|user|human|instruction) ?\d{0,3} ?:", re.IGNORECASE)
TURN_TOKEN = re.compile(r"<\|[^|<>\n]{1,40}\|>|</?(?:s|b|i|em|strong|p|br|u|code)\s*/?>", re.IGNORECASE)
EMPHASIS = re.compile(r"[*`$#~]|(?<![^\W_])_++|_++(?![^\W_])|\\(?=[()\[\]])")
PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | str.maketrans(
    "\u3000\u3010\u3011\u3002\u300c\u300d\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u00a0", ' []."""""""\'\' '
)


@dataclass(frozen=True)
class Cleaned:
    """An answer made plain; both texts are as long as the answer."""

    text: str
    before_next: str
    """The same up to a question that the model went on to ask itself."""
    unfinished: bool
    """Whether its reasoning never ended."""


def clean(answer: str) -> Cleaned:
    """The part of an answer that speaks to the reader."""
    hidden, unfinished = _reasoning(answer)
    shown = bytearray(b"\1" * len(answer))
    for start, end in hidden:
        shown[start:end] = bytes(end - start)
    text = "".join(sign if seen or sign == "\n" else " " for sign, seen in zip(answer, shown, strict=True))
    text = EMPHASIS.sub(_blank, TURN_TOKEN.sub(_blank, text)).translate(PLAIN)
    following = NEXT_QUESTION.search(text)
    before = text if following is None else text[: following.start()] + _spaces(text[following.start() :])
    return Cleaned(text, before, unfinished)


def _reasoning(answer: str) -> tuple[list[tuple[int, int]], bool]:
    """The stretches inside reasoning tags, and whether the last never ends; an end without a start hides all before it."""
    hidden: list[tuple[int, int]] = []
    start: int | None = None
    for tag in TAG.finditer(answer):
        if not tag["end"]:
            start = tag.start() if start is None else start
        else:
            hidden.append((0 if start is None else start, tag.end()))
            start = None
    if start is None:
        return hidden, False
    return [*hidden, (start, len(answer))], True


def _blank(match: re.Match[str]) -> str:
    return _spaces(match.group())


def _spaces(text: str) -> str:
    """As many spaces, line ends kept."""
    return re.sub(r"[^\n]", " ", text)
