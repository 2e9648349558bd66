"""Texts with facts: Enriched WebNLG with its gold references, and a user's own {"text", "facts"} lines."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError
from tenfold.store.artifacts import find_data

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Example:
    """A text, its facts as (key, value) pairs, and per value the gold references that annotators marked (WebNLG only)."""

    key: str
    text: str
    facts: Facts
    gold: Mapping[str, tuple[str, ...]]
    entry: str = ""
    """What several texts of the same facts share."""
    category: str = ""


UNSEEN = frozenset({"Astronaut", "ComicsCharacter"})
"""Categories of Enriched WebNLG to leave out of training and to be scored on."""


def load_examples(name: str) -> list[Example]:
    """The examples of a file; gold references are read where the lines hold them.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is not an example; the message gives its number.
    """
    path = find_data(name)
    examples = [_read(row, number, path) for number, row in enumerate(_rows(path), start=1)]
    if not examples:
        raise ConfigError(f'{path.name} holds no texts; give lines of {{"text", "facts"}} or of Enriched WebNLG')
    return examples


def _rows(path: Path) -> Iterator[Any]:
    if path.suffix != ".gz":
        yield from jsonl.read(path)
        return
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines)


def _read(row: Any, number: int, path: Path) -> Example:
    try:
        if "triples" in row:
            entry = "/".join(str(row[name]) for name in ("category", "size", "eid"))
            return Example(
                f"{number}", row["text"], key_facts(row["triples"]), _gold(row["references"]), entry, row["category"]
            )
        entry, category = str(row.get("entry", number)), str(row.get("category", ""))
        return Example(f"{number}", row["text"], tuple(_pairs(row["facts"])), {}, entry, category)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ConfigError(f'{path.name} line {number}: a line is {{"text": "...", "facts": {{"key": "value"}}}}') from None


def _pairs(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, values in facts.items():
        yield from ((key, str(value)) for value in (values if isinstance(values, list) else [values]))


def key_facts(triples: Sequence[str]) -> Facts:
    """(key, value) pairs of "subject | predicate | object" lines; `title` is the commonest subject, keys are paths."""
    parts = [tuple(part.strip() for part in triple.split(" | ")) for triple in triples]
    title = Counter(subject for subject, _, _ in parts).most_common(1)[0][0]
    paths, facts = {title: ""}, [("title", title)]
    for _ in parts:  # a path has at most as many steps as there are triples
        for subject, predicate, value in parts:
            if subject in paths and value not in paths:
                paths[value] = f"{paths[subject]}.{predicate}".lstrip(".")
                facts.append((paths[value], value))
    loose = {entity: predicate for subject, predicate, value in parts for entity in (subject, value) if entity not in paths}
    return (*facts, *((f"{predicate}.other", entity) for entity, predicate in loose.items()))


def _gold(references: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    gold: dict[str, list[str]] = {}
    for reference in references:
        if reference["type"] in ("name", "description"):
            gold.setdefault(reference["entity"], []).append(reference["text"])
    return {entity: tuple(texts) for entity, texts in gold.items()}
