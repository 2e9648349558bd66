"""Pairs in JSONL files: written in one step, read one by one."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError
from tenfold.store import atomic
from tenfold.systems.glan.tree import Pair, pair_of


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Writes JSON objects, one a line; returns how many. A reader sees the whole file or none."""
    count = 0

    def write(scratch: Path) -> None:
        nonlocal count
        with scratch.open("wb") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
                count += 1

    atomic.write_file(path, write)
    return count


def write_pairs(path: Path, pairs: Iterable[Pair]) -> int:
    """Writes pairs; returns how many."""
    return write_rows(path, (pair.row for pair in pairs))


def read_pairs(path: Path) -> Iterator[Pair]:
    """Pairs of a file that `generate` or `gate` has written.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is no pair; the message gives its number.
    """
    for number, row in enumerate(jsonl.read(path), 1):
        try:
            yield pair_of(row)
        except (TypeError, KeyError, AttributeError):
            accepted = "we accept pairs.jsonl or accepted.jsonl of a run of glan"
            raise ConfigError(f"{path} line {number} is no pair; {accepted}") from None
