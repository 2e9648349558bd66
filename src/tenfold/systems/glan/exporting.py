"""The verb `export`: accepted pairs in the form that trainers read, with a data card and checksums.

    chat      {"messages": [user, assistant], ...}     alpaca    {"instruction", "input", "output", ...}
    sharegpt  {"conversations": [human, gpt], ...}     parquet   the chat form as Parquet, through `datasets`

Order is that of the tree, or of the level: beginners' pairs first, which makes a curriculum.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tenfold.core.config import Config
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.core.registry import load_target
from tenfold.store import atomic
from tenfold.store.artifacts import sha256
from tenfold.store.runs import Run
from tenfold.systems.glan.pair_files import read_pairs, write_rows
from tenfold.systems.glan.tree import Pair

Format = Literal["chat", "alpaca", "sharegpt", "parquet"]
LEVELS = (("beginner", "introduct", "basic", "elementary"), ("intermediate",), ("advanced", "graduate", "expert"))
"""Words by which a level is known, from easy to hard; a level without any of them counts as intermediate."""


class ExportConfig(Config):
    """Write pairs in a form that trainers read."""

    data: Path
    """Pairs: accepted.jsonl of a run of `generate` or `gate`."""
    format: Format = "chat"
    """chat, alpaca, sharegpt or parquet."""
    order: Literal["tree", "level"] = "tree"
    """The taxonomy's order, or from beginner to advanced."""
    split: Literal["train", "test"] = "train"
    """Pairs to train on, or those held out."""
    out: Path | None = None
    """Folder to write into; by default the run directory."""
    licence: str = "unstated"
    """Licence to name in the data card; the terms of the teacher decide which are possible."""


@dataclass
class Contents:
    """What has been written, for the card."""

    fields: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    strategies: Counter[str] = field(default_factory=Counter)

    def add(self, pair: Pair) -> Pair:
        """Counts a pair and hands it on."""
        self.fields[pair.field] += 1
        self.levels[pair.level or "unstated"] += 1
        self.strategies[pair.strategy] += 1
        return pair


def export(config: ExportConfig, run: Run) -> Metrics:
    """Writes the data, README.md (its card) and manifest.json.

    Raises:
        UserError: there is no pair of this split.
    """
    folder = config.out or run.folder
    contents = Contents()
    rows = (FORMS[config.format](contents.add(pair)) for pair in ordered(config))
    path = folder / f"{config.split}.{'parquet' if config.format == 'parquet' else 'jsonl'}"
    folder.mkdir(parents=True, exist_ok=True)
    number = (_write_parquet if config.format == "parquet" else write_rows)(path, rows)
    if not number:
        raise UserError(f"{config.data} holds no pair of the split {config.split!r}; generate some, or take the other split")
    atomic.write_text(folder / "README.md", card(config, number, contents))
    manifest = {"file": path.name, "rows": number, "format": config.format, "sha256": sha256(path)}
    atomic.write_json(folder / "manifest.json", manifest)
    return manifest | {"folder": str(folder), "levels": dict(sorted(contents.levels.items()))}


def ordered(config: ExportConfig) -> Iterator[Pair]:
    """Pairs of the split in the order asked for; the file is read once for each level, so none need be held."""
    ranks = range(len(LEVELS)) if config.order == "level" else (None,)
    for rank in ranks:
        for pair in read_pairs(config.data):
            if pair.split == config.split and rank in (None, level_rank(pair.level)):
                yield pair


def level_rank(level: str) -> int:
    """0, 1 or 2 for a level in words."""
    found = [rank for rank, words in enumerate(LEVELS) if any(word in level.lower() for word in words)]
    return found[0] if found else 1


def _origin(pair: Pair) -> dict[str, Any]:
    row = pair.row
    names = ("id", "field", "branch", "discipline", "subject", "level", "sessions", "concepts", "strategy", "lineage")
    return {name: row[name] for name in names}


def _chat(pair: Pair) -> dict[str, Any]:
    messages = [{"role": "user", "content": pair.instruction}, {"role": "assistant", "content": pair.answer}]
    return {"messages": messages} | _origin(pair)


def _alpaca(pair: Pair) -> dict[str, Any]:
    return {"instruction": pair.instruction, "input": "", "output": pair.answer} | _origin(pair)


def _sharegpt(pair: Pair) -> dict[str, Any]:
    turns = [{"from": "human", "value": pair.instruction}, {"from": "gpt", "value": pair.answer}]
    return {"conversations": turns} | _origin(pair)


FORMS: Mapping[Format, Callable[[Pair], dict[str, Any]]] = {
    "chat": _chat,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
    "parquet": _chat,
}


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Through JSON lines on disk, which `datasets` reads piece by piece."""
    lines = path.with_suffix(".jsonl.partial")
    cache = path.parent / ".datasets"
    try:
        number = write_rows(lines, rows)
        if number:
            data = load_target("datasets:Dataset").from_json(str(lines), cache_dir=str(cache))
            atomic.write_file(path, lambda scratch: data.to_parquet(str(scratch)))
        return number
    finally:
        lines.unlink(missing_ok=True)
        shutil.rmtree(cache, ignore_errors=True)


def card(config: ExportConfig, number: int, contents: Contents) -> str:
    """The data card; only what is counted or given is in it."""
    lists = {"Fields": contents.fields, "Levels": contents.levels, "Sessions of a question": contents.strategies}
    tables = [
        "\n".join(
            [f"## {title}", "", "| | pairs |", "|---|---|", *(f"| {name} | {n} |" for name, n in sorted(counts.items()))]
        )
        for title, counts in lists.items()
    ]
    head = CARD.read_text(encoding="utf-8").format(
        number=number, split=config.split, form=config.format, order=config.order, licence=config.licence
    )
    return "\n\n".join([head.strip(), *tables]) + "\n"


CARD = Path(__file__).with_name("card.txt")


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    return f"{metrics['rows']} rows in {metrics['folder']}/{metrics['file']}, with README.md and manifest.json"
