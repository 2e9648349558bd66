"""The labelled sets as items, and the splits that do not leak.

diasafety   train against val, clustered by context
gptfuzz     five folds by question, duplicates dropped
coldataset  train against dev, without the dev texts that occur in train
invented    harms that do not exist, made here: for demonstrations, and where no set is at hand

The texts are classifier data: they are scored and never shown. Rows and reports name items by their keys.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.store.artifacts import find_data
from tenfold.systems.shieldlm.invented import invented_split
from tenfold.systems.shieldlm.items import LABELS, Item, Label, Split

SETS = ("diasafety", "gptfuzz", "coldataset", "invented")
NUM_FOLDS = 5
DIALOGUE = re.compile(r"\n\s*A: ?(?P<query>.*)\n\s*B: ?(?P<response>.*)", re.DOTALL)
ANSWER = re.compile(r"\[(?:Answer|答案)\]\s*(?P<label>unsafe|safe|controversial|不安全|有争议|安全)", re.IGNORECASE)
ANSWERS: Mapping[str, Label] = {
    "safe": "safe",
    "unsafe": "unsafe",
    "controversial": "controversial",
    "安全": "safe",
    "不安全": "unsafe",
    "有争议": "controversial",
}


def splits(name: str) -> list[Split]:
    """The splits of a set, each to be learnt and judged by itself.

    Raises:
        UnknownNameError: there is no such set.
        MissingArtifactError: it is not on this machine.
        ConfigError: a file is not in the set's format.
    """
    if name not in SETS:
        raise UnknownNameError("safety set", name, SETS)
    if name == "invented":
        return [invented_split()]
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


def read_items(path: Path, *, labelled: bool = False) -> list[Item]:
    """Items of a JSONL file of your own, in one of the paper's formats.

        {query, response}                 to be judged; label may follow: a name, or 0 safe, 1 unsafe, 2 controversial
        {instruction, answer}             the same, as instruction data calls it
        {query, response, output}         the label is read from the output's answer line
        {input, output, lang, label}      training rows; the dialogue is what stands behind the last `A:` and `B:` lines

    Further keys that are used: category (or controversial_type), group, lang, key; rule_safe and rule_unsafe, its own rules.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a row lacks its response, has an unknown label, or none though `labelled`; the message names the line.
    """
    rows = [_own_item(row, f"{path.name}:{number}", labelled) for number, row in enumerate(jsonl.read(path), 1)]
    if not rows:
        raise ConfigError(f"{path} holds no row; give one JSON object a line with query and response")
    return rows


def train_items(name: str) -> list[Item]:
    """What a guard learns from: a set's training part (its first split's), or a file."""
    return list(splits(name)[0].train) if name in SETS else read_items(Path(name), labelled=True)


def held_out_items(name: str) -> list[Item]:
    """What a guard is judged on: a set's test part (its first split's), or a file."""
    return list(splits(name)[0].test) if name in SETS else read_items(Path(name), labelled=True)


def _own_item(row: Any, where: str, labelled: bool) -> Item:
    if not isinstance(row, Mapping):
        raise ConfigError(f"{where}: a row is a JSON object with query and response")
    query, response = _asked_and_answered(row)
    if not isinstance(response, str) or not isinstance(query, str):
        raise ConfigError(f"{where}: keys {sorted(row)} hold no response; give query and response")
    types = row.get("controversial_type") or [row.get("category", "")]
    lang = row.get("lang") or ("zh" if any("\u4e00" <= letter <= "\u9fff" for letter in response) else "en")
    return Item(
        str(row.get("key", where)),
        query,
        response,
        _own_label(row, where, labelled),
        str(types[0]) if types else "",
        str(row.get("group", query or response)),
        lang,
        str(row.get("rule_safe", "")),
        str(row.get("rule_unsafe", "")),
    )


def _asked_and_answered(row: Mapping[str, Any]) -> tuple[Any, Any]:
    if "response" in row:
        return row.get("query", ""), row["response"]
    if "instruction" in row and "answer" in row:
        return row["instruction"], row["answer"]
    return dialogue(str(row.get("input", "")))


def dialogue(text: str) -> tuple[str, str | None]:
    """Query and response from a prompt that ends with `A: ...` and `B: ...`; no response if it does not."""
    found = DIALOGUE.search(text)
    return (found["query"], found["response"]) if found else ("", None)


def _own_label(row: Mapping[str, Any], where: str, labelled: bool) -> Label:
    label = row.get("label")
    if label is None and "output" in row:
        label = _label_of_output(str(row["output"]))
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(LABELS):
        return LABELS[label]
    if label is None and labelled:
        raise ConfigError(f"{where}: there is no label; give {', '.join(LABELS)} or 0, 1, 2")
    if label is None:
        return "safe"
    if label not in LABELS:
        raise ConfigError(f"{where}: the label is {label!r}; accepted are {', '.join(LABELS)} or 0, 1, 2")
    return label


def _label_of_output(output: str) -> Label | None:
    """The label on the answer line; the whole word, so that unsafe is not read as safe."""
    found = ANSWER.search(output)
    return ANSWERS.get(found["label"].lower()) if found else None


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
