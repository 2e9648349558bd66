"""Benchmarks that must not be trained on: known sets by name, or any JSONL file with questions."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.store.artifacts import data_folder
from tenfold.systems.glan.decontaminate import BenchmarkItem

KNOWN = {
    "gsm8k": ("gsm8k/train.jsonl", "gsm8k/test.jsonl"),
    "mmlu": ("mmlu/dev", "mmlu/test"),
}
"""Files or folders under the data folder, training and test sets alike."""


def load_benchmarks(names: Sequence[str]) -> list[BenchmarkItem]:
    """All items of the benchmarks: of `gsm8k`, of `mmlu`, or of JSONL files with `question` and perhaps `choices`.

    Raises:
        MissingArtifactError: a benchmark is not on this machine.
        ConfigError: a line has no question.
    """
    return [item for name in names for path in _paths(name) for item in _read(name, path)]


def _paths(name: str) -> list[Path]:
    places = [data_folder() / place for place in KNOWN[name]] if name in KNOWN else [Path(name)]
    for place in places:
        if not place.exists():
            how = "set TENFOLD_DATA to the folder that holds it" if name in KNOWN else f"give a file, or {', '.join(KNOWN)}"
            raise MissingArtifactError(f"benchmark {name!r} is not at {place}; {how}")
    return [path for place in places for path in (sorted(place.glob("*.csv")) if place.is_dir() else [place])]


def _read(name: str, path: Path) -> Iterator[BenchmarkItem]:
    label = name if name in KNOWN else path.stem
    rows = _csv_rows(path) if path.suffix == ".csv" else _json_rows(path)
    for number, (text, choices) in enumerate(rows, 1):
        yield BenchmarkItem(label, f"{path.parent.name}/{path.stem}:{number}", text, choices)


def _csv_rows(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield row["question"], tuple(row[f"choice{number}"] for number in range(4))


def _json_rows(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, row in enumerate(jsonl.read(path), 1):
        text = row.get("question", row.get("prompt")) if isinstance(row, dict) else None
        choices = row.get("choices") or () if isinstance(row, dict) else ()
        if not isinstance(text, str) or not isinstance(choices, list | tuple):
            raise ConfigError(f'{path} line {number} has no question; {{"question", "choices"}} objects are accepted')
        yield text, tuple(map(str, choices))
