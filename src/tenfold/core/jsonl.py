"""JSON lines that survive a kill: a row is either wholly in the file or dropped when it is read again."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenfold.core.errors import ConfigError, MissingArtifactError


def append(path: Path, row: Any) -> None:
    """Appends one row and hands it to the operating system before returning."""
    with path.open("ab") as file:  # half a surrogate pair is no UTF-8; its backslash escape is JSON
        file.write(json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")


def recover(path: Path) -> list[Any]:
    """Reads the rows we wrote ourselves; a torn last line (the process was killed) is cut off the file."""
    whole = _whole_lines(path)
    if path.exists() and len(whole) < path.stat().st_size:
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def read_whole(path: Path) -> list[Any]:
    """Reads the rows of a file that another process may still be writing; a last line without its end is left out."""
    return [json.loads(line) for line in _whole_lines(path).splitlines()]


def _whole_lines(path: Path) -> bytes:
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def read(path: Path) -> Iterator[Any]:
    """Reads rows that somebody else wrote.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is not JSON; the message gives its number.
    """
    if not path.is_file():
        raise MissingArtifactError(f"no file {str(path)!r}; give the path of a .jsonl file")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _parse(line, path, number)


def _parse(line: bytes, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} line {number} is not JSON ({error}); one JSON object a line is accepted") from None
