"""Knowledge bases: an entity's title comes in, facts with ranked values come out.

    KnowledgeBase.lookup(title, lang) -> entities      all that answer to the name; a caller never gets a silent guess
    KnowledgeBase.facts(entity, lang) -> [Fact]

Here are infoboxes (a dictionary, JSON, JSON lines, or the WikiBio form); `wikidata.py` has the index of a dump.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from rapidfuzz import fuzz

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError
from tenfold.systems.slotsum.tokens import fold

Rank = Literal["preferred", "normal", "deprecated"]
SAME_KEY = 80.0
"""Token-sort ratio from which a slot's name means a key of the knowledge base (the paper's)."""


@dataclass(frozen=True)
class Statement:
    """One value of a fact, as the knowledge base states it."""

    value: str
    rank: Rank = "normal"
    id: str = ""
    aliases: tuple[str, ...] = ()
    """Other names of what the value names."""
    ended: bool = False
    """The value held in the past (Wikidata's end time)."""
    qualifiers: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fact:
    """What an entity's key says; `label` is the key in words."""

    key: str
    label: str
    values: tuple[Statement, ...]

    @property
    def best(self) -> list[Statement]:
        """The values of best rank: the preferred ones if there are any, else the normal ones; what holds now comes first."""
        preferred = [one for one in self.values if one.rank == "preferred"]
        chosen = preferred or [one for one in self.values if one.rank == "normal"]
        return sorted(chosen, key=lambda one: one.ended)


class KnowledgeBase(Protocol):
    """Where facts are looked up."""

    def lookup(self, title: str, lang: str = "en") -> list[str]:
        """The entities that answer to a title."""
        ...

    def facts(self, entity: str, lang: str = "en") -> list[Fact]:
        """What is known of an entity; empty for one that is not there."""
        ...


class InfoboxKB:
    """Infoboxes by title: `{title: {key: value or list of values}}`."""

    def __init__(self, boxes: Mapping[str, Mapping[str, Any]]) -> None:
        self._boxes = dict(boxes)
        self._titles: dict[str, list[str]] = {}
        for title in boxes:
            self._titles.setdefault(fold(title).replace("_", " "), []).append(title)

    def lookup(self, title: str, lang: str = "en") -> list[str]:
        return self._titles.get(fold(title).replace("_", " "), [])

    def facts(self, entity: str, lang: str = "en") -> list[Fact]:
        return box_facts(self._boxes.get(entity, {}))

    @property
    def titles(self) -> list[str]:
        return list(self._boxes)


def box_facts(box: Mapping[str, Any]) -> list[Fact]:
    """The facts of one infobox; a value may be a list."""
    return [
        Fact(key, label_of(key), tuple(Statement(str(value), id=key) for value in _listed(values)))
        for key, values in box.items()
        if _listed(values)
    ]


def pairs_box(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """(key, value) pairs as an infobox, in order."""
    box: dict[str, list[str]] = {}
    for key, value in pairs:
        box.setdefault(key, []).append(value)
    return box


def _listed(values: Any) -> list[Any]:
    listed = values if isinstance(values, list | tuple) else [values]
    return [value for value in listed if value is not None and str(value).strip()]


def label_of(key: str) -> str:
    """A key in words: `birthPlace` is "birth place", `was a crew member of.operator` its last two steps."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key.replace("_", " ").replace(".", " "))
    return re.sub(r"\s+", " ", spaced).strip().lower()


def match_key(key: str, facts: Sequence[Fact]) -> Fact | None:
    """The fact that a slot's name means: the same key, else the likest label if it is like enough."""
    exact = next((fact for fact in facts if fact.key == key), None)
    if exact is not None or not facts:
        return exact
    label = label_of(key)
    ratio, _, best = max((_likeness(label, fact), -place, fact) for place, fact in enumerate(facts))
    return best if ratio >= SAME_KEY else None


def _likeness(label: str, fact: Fact) -> float:
    """Numbers must agree: the first runway is not the second."""
    if re.findall(r"\d+", label) != re.findall(r"\d+", fact.label):
        return 0.0
    return fuzz.token_sort_ratio(label, fact.label)


def read_boxes(path: Path) -> InfoboxKB:
    """Infoboxes from JSON `{title: {key: value}}`, or JSON lines `{"title", "infobox"}`.

    Raises:
        MissingArtifactError: no such file.
        ConfigError: the file holds something else; the message says where.
    """
    if path.suffix == ".box":
        return InfoboxKB(dict(read_wikibio(path)))
    if path.suffix == ".json":
        try:
            boxes = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path.name} is no JSON ({error}); give {{title: {{key: value}}}}") from None
        if not isinstance(boxes, dict) or not all(isinstance(box, dict) for box in boxes.values()):
            raise ConfigError(
                f"{path.name} holds no infoboxes; give {{title: {{key: value}}}}, or lines of title and infobox"
            )
        return InfoboxKB(boxes)
    return InfoboxKB(dict(_lines_of_boxes(path)))


def _lines_of_boxes(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in enumerate(jsonl.read(path), start=1):
        try:
            box = row["infobox"] if "infobox" in row else row["facts"]
            yield str(row["title"]), dict(box)
        except (KeyError, TypeError, ValueError):
            raise ConfigError(
                f'{path.name} line {number}: a line is {{"title": "...", "infobox": {{key: value}}}}'
            ) from None


def read_wikibio(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """WikiBio's boxes: a line per entity of tab-separated `field_n:token`; `<none>` is an empty field.

    The title is the field `article_title`, else `name`, else the line's number.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            box: dict[str, list[str]] = {}
            for cell in line.rstrip("\n").split("\t"):
                name, colon, token = cell.partition(":")
                key = re.sub(r"_\d+$", "", name)
                if colon and token != "<none>":
                    box.setdefault(key, []).append(token)
            joined = {key: " ".join(tokens) for key, tokens in box.items()}
            yield joined.get("article_title") or joined.get("name") or str(number), joined
