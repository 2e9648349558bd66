"""The texts that ship with the home: lists of words, one a line, and frames, one JSON object a line."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

_FOLDER = files("tenfold.systems.ump") / "frames"


@cache
def read_list(name: str) -> list[str]:
    """The lines of a text file."""
    return [line for line in (_FOLDER / name).read_text(encoding="utf-8").splitlines() if line]


@cache
def read_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in read_list(name)]


WOMEN, MEN = read_list("women.txt"), read_list("men.txt")
NAMES = frozenset((*WOMEN, *MEN))
