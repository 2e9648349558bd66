"""Files and folders that are either wholly there or not there at all, also with two processes at work."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Replaces a file in one step: a reader sees the old content or the new, never a part.

    `write` fills the path that it is given, which lies in the same folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    scratch = Path(name)
    try:
        write(scratch)
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.chmod(0o644)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replaces a text file in one step."""
    write_file(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes readable JSON with `write_text`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def build_folder(target: Path, build: Callable[[Path], None]) -> Path:
    """Returns `target`, having it built first if it is not there; of several processes one builds, the others wait.

    `build` fills an empty folder beside the target, which takes the target's name only when it is complete; what
    a killed process left half built is removed by the next one.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            scratch = target.with_name(f".{target.name}.partial")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            build(scratch)
            scratch.replace(target)
    return target
