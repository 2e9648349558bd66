"""From a model's answer to a letter: the published runner's rule, and the rule of ours that never guesses.

    parse_official   bit-equal to the published runner: an option's text less its last character, else the first lone capital
    parse            tenfold.evals.parsing: states ok, ambiguous, none, refusal, truncated

The published rule reads a rejected option that is quoted first, and the article in "A cartoon ...", as the answer
(deepeval.md section 7). It is kept to repeat published numbers. `corpus/` holds answers with hand-given labels for ours.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from tenfold.evals.parsing import Parse, parse_letter
from tenfold.systems.deepeval.items import LETTERS

Parser = Literal["robust", "official"]
PARTS = ("first", "second", "third", "fourth", "fifth")
"""Written one after the other; each was read once before the parser was changed to fit it, to see how far it generalises."""
LONE_CAPITAL = re.compile(r"\b[A-D]\b")


def parse(answer: str, options: Sequence[str], *, parser: Parser = "robust", cut_off: bool = False) -> Parse:
    """Reads an answer to a question with these four options; `cut_off` says that the token budget ended it."""
    if parser == "official":
        return parse_official(answer, options)
    return parse_letter(answer, dict(zip(LETTERS, options, strict=True)), truncated=cut_off)


def parse_official(answer: str, options: Sequence[str]) -> Parse:
    """The published rule on the options as they stand; what it cannot read is state `none`, which it counts as wrong."""
    for letter, option in zip(LETTERS, options, strict=True):
        start = answer.find(option[:-1])
        if start >= 0:
            return Parse("ok", letter, "official: option text", (start, start + len(option) - 1))
    lone = LONE_CAPITAL.search(answer)
    if lone:
        return Parse("ok", lone.group(), "official: lone capital", lone.span())
    return Parse("none", None, "official", None)


@dataclass(frozen=True)
class LabelledAnswer:
    """An answer written by us, and what a careful reader takes it to say."""

    id: str
    style: str
    options: tuple[str, ...]
    answer: str
    cut_off: bool
    """Whether the token budget ended the answer."""
    state: str
    letter: str | None


@cache
def corpus() -> tuple[LabelledAnswer, ...]:
    """The labelled answers that ship with the package, part by part."""
    folder = files("tenfold.systems.deepeval") / "corpus"
    options: dict[str, list[str]] = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    lines = [line for part in PARTS for line in (folder / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
    return tuple(_labelled(json.loads(line), options) for line in lines)


def _labelled(row: dict[str, Any], options: dict[str, list[str]]) -> LabelledAnswer:
    fields: dict[str, Any] = {**row, "options": tuple(options[row["options"]])}
    return LabelledAnswer(**fields)
