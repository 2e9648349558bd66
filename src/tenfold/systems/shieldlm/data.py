"""The labelled sets as items, and the splits that do not leak.

diasafety   train against val, clustered by context
gptfuzz     five folds by question, duplicates dropped
coldataset  train against dev, without the dev texts that occur in train

The texts are classifier data: they are scored and never shown. Rows and reports name items by their keys.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.store.artifacts import find_data

Label = Literal["safe", "unsafe", "controversial"]
LABELS: tuple[Label, ...] = ("safe", "unsafe", "controversial")
SETS = ("diasafety", "gptfuzz", "coldataset")
NUM_FOLDS = 5


@dataclass(frozen=True)
class Item:
    """One labelled pair; items of one group share a context or a question and are never split."""

    key: str
    query: str
    response: str
    label: Label
    category: str
    group: str
    lang: Literal["en", "zh"] = "en"

    @property
    def text(self) -> str:
        """What a detector without a prompt reads."""
        return f"{self.query}\n{self.response}" if self.query else self.response


@dataclass(frozen=True)
class Split:
    """Items to learn from and items to be judged on; no group of `unseen` occurs in `train`."""

    train: Sequence[Item]
    test: Sequence[Item]

    @property
    def unseen(self) -> frozenset[str]:
        """Groups of the test part that training never saw."""
        return frozenset(item.group for item in self.test) - {item.group for item in self.train}


def splits(name: str) -> list[Split]:
    """The splits of a set, each to be learnt and judged by itself.

    Raises:
        UnknownNameError: there is no such set.
        MissingArtifactError: it is not on this machine.
        ConfigError: a file is not in the set's format.
    """
    if name not in SETS:
        raise UnknownNameError("safety set", name, SETS)
    folder = find_data(name)
    if name == "diasafety":
        return [Split(read_diasafety(folder / "train.json"), read_diasafety(folder / "val.json"))]
    if name == "gptfuzz":
        return _by_question(read_gptfuzz(folder / "train.csv"))
    train = read_cold(folder / "train.csv")
    seen = {item.response for item in train}
    return [Split(train, [item for item in read_cold(folder / "dev.csv") if item.response not in seen])]


def read_diasafety(path: Path) -> list[Item]:
    """Items of a DiaSafety file: context, response, category, Safe or Unsafe."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [
            Item(
                f"{path.stem}-{number}",
                row["context"],
                row["response"],
                _label(row["label"], {"Safe": "safe", "Unsafe": "unsafe"}, path),
                row["category"],
                row["context"],
            )
            for number, row in enumerate(rows)
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not in DiaSafety's format ({type(error).__name__}); give its JSON file") from None


def read_gptfuzz(path: Path) -> list[Item]:
    """Items of GPTFuzz's training file; a repeated (question, response) is kept once. Label 1 is unsafe."""
    items: dict[tuple[str, str], Item] = {}
    for number, row in enumerate(_read_csv(path, ("question", "Response", "label"))):
        label = _label(row["label"], {"0": "safe", "1": "unsafe"}, path)
        item = Item(f"{path.stem}-{number}", "", row["Response"], label, "jailbreak", row["question"])
        items.setdefault((row["question"], row["Response"]), item)
    return list(items.values())


def read_cold(path: Path) -> list[Item]:
    """Items of a COLD file (Chinese); every text is its own group. Label 1 is unsafe."""
    return [
        Item(
            f"{path.stem}-{number}",
            "",
            row["TEXT"],
            _label(row["label"], {"0": "safe", "1": "unsafe"}, path),
            row["topic"],
            row["TEXT"],
            "zh",
        )
        for number, row in enumerate(_read_csv(path, ("TEXT", "label", "topic")))
    ]


def _by_question(items: Sequence[Item]) -> list[Split]:
    folds = [int(item.group) % NUM_FOLDS for item in items]
    return [
        Split(
            [item for item, at in zip(items, folds, strict=True) if at != fold],
            [item for item, at in zip(items, folds, strict=True) if at == fold],
        )
        for fold in range(NUM_FOLDS)
    ]


def _read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise ConfigError(f"{path} lacks the column {missing[0]!r}; give a file with {', '.join(columns)}")
    return rows


def _label(value: str, names: dict[str, Label], path: Path) -> Label:
    if value not in names:
        raise ConfigError(f"{path}: the label is {value!r}; {' and '.join(names)} are accepted")
    return names[value]
