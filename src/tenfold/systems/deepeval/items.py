"""A question about a picture: four options, one of them right; and what people wrote about the picture.

Both are plain JSON lines. A question (deepeval.md section 3):

    {"id": "title-Img7", "image_id": "Img7", "task": "title", "options": [4 texts], "gold": "C", "block": "title-003",
     "facets": [], "prompts": ["... (A) {} (B) {} (C) {} (D) {} ..."], "sha256": "..."}

`block` is null outside a quad. `prompts` may be empty. `sha256` may be left out; if it stands there it must fit.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from tenfold.core.config import canonical_json
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.store import atomic

Task = Literal["description", "title", "meaning"]
TASKS: tuple[Task, ...] = get_args(Task)
LETTERS = "ABCD"
SLOT = "{}"


@dataclass(frozen=True)
class Annotation:
    """What people wrote about one picture; `image` is a path or an address, empty if there is none."""

    image_id: str
    description: str
    title: str
    meaning: str
    image: str = ""
    facets: tuple[str, ...] = ()

    def text(self, task: Task) -> str:
        """The right answer to a task's question about this picture."""
        return {"description": self.description, "title": self.title, "meaning": self.meaning}[task]

    def as_json(self) -> dict[str, Any]:
        return {
            "image_id": self.image_id,
            "image": self.image,
            "description": self.description,
            "title": self.title,
            "meaning": self.meaning,
            "facets": list(self.facets),
        }


@dataclass(frozen=True)
class Item:
    """One question about one picture. `gold` is the index, 0 to 3, of the right option."""

    id: str
    image_id: str
    task: Task
    options: tuple[str, str, str, str]
    gold: int
    block: str | None = None
    facets: tuple[str, ...] = ()
    prompts: tuple[str, ...] = field(default=(), repr=False)
    """Prompt texts with one `{}` for each option, filled by position."""

    @property
    def letter(self) -> str:
        """The letter of the right option."""
        return LETTERS[self.gold]

    @property
    def answer(self) -> str:
        """The text of the right option."""
        return self.options[self.gold]

    @cached_property
    def sha256(self) -> str:
        """64 hexadecimal digits that name the question; the picture's own checksum stands in the manifest."""
        content = [self.image_id, self.task, self.options, self.gold, self.block, self.facets, self.prompts]
        return hashlib.sha256(canonical_json([self.id, *content]).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "image_id": self.image_id,
            "task": self.task,
            "options": list(self.options),
            "gold": self.letter,
            "block": self.block,
            "facets": list(self.facets),
            "prompts": list(self.prompts),
            "sha256": self.sha256,
        }


def write_jsonl(path: Path, records: Iterable[Item | Annotation]) -> None:
    """Writes questions or annotations, one JSON object a line, in one step; equal records give equal bytes."""
    lines = [json.dumps(record.as_json(), ensure_ascii=False) + "\n" for record in records]
    atomic.write_text(path, "".join(lines))


def read_items(path: Path, *, known_facets: Sequence[str] | None = None) -> list[Item]:
    """Reads questions.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is no question; the message gives its number and the reason.
    """
    return [parse_item(row, where, known_facets=known_facets) for row, where in numbered(path)]


def read_annotations(path: Path, *, known_facets: Sequence[str] | None = None) -> list[Annotation]:
    """Reads annotations: image_id, description, title, meaning, and if you like image and facets.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is no annotation, or a picture comes twice; the message gives the line and the reason.
    """
    annotations: dict[str, Annotation] = {}
    for row, where in numbered(path):
        annotation = parse_annotation(row, where, known_facets=known_facets)
        if annotation.image_id in annotations:
            raise ConfigError(f"{where}: picture {annotation.image_id!r} comes twice; give each picture one line")
        annotations[annotation.image_id] = annotation
    return list(annotations.values())


def numbered(path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The JSON objects of a file, each with `file line N` for messages; empty lines are counted but not returned.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is no JSON object, or the file is not UTF-8.
    """
    if not path.is_file():
        raise MissingArtifactError(f"no file {str(path)!r}; give the path of a file of JSON lines")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 ({error}); JSON lines in UTF-8 are accepted") from None
    yield from numbered_text(text, str(path))


def numbered_text(text: str, name: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """As `numbered`, from a text that is called `name` in messages."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{name} line {number}"
            yield _object(line, where), where


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where} is not JSON ({error}); one JSON object a line is accepted") from None
    if not isinstance(row, dict):
        raise ConfigError(f"{where} is {type(row).__name__}, not an object; one JSON object a line is accepted")
    return row


def parse_item(row: Mapping[str, Any], where: str, *, known_facets: Sequence[str] | None = None) -> Item:
    """A question from a JSON object; ConfigError with `where` and the reason if it is none."""
    item = Item(
        id=text_field(row, "id", where),
        image_id=text_field(row, "image_id", where),
        task=_task(row, where),
        options=_options(row, where),
        gold=_gold(row, where),
        block=None if row.get("block") is None else text_field(row, "block", where),
        facets=facets_field(row, where, known_facets),
        prompts=_prompts(row, where),
    )
    if row.get("sha256") not in (None, item.sha256):
        raise ConfigError(f"{where}: the sha256 does not fit the question; undo the change, or leave the field out")
    return item


def parse_annotation(row: Mapping[str, Any], where: str, *, known_facets: Sequence[str] | None = None) -> Annotation:
    """An annotation from a JSON object; ConfigError with `where` and the reason if it is none."""
    return Annotation(
        image_id=text_field(row, "image_id", where),
        description=text_field(row, "description", where),
        title=text_field(row, "title", where),
        meaning=text_field(row, "meaning", where),
        image=text_field(row, "image", where) if row.get("image") else "",
        facets=facets_field(row, where, known_facets),
    )


def text_field(row: Mapping[str, Any], name: str, where: str) -> str:
    """A field that must be a text with something in it."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}: {name} is {value!r}; give a text that is not empty")
    return value


def _task(row: Mapping[str, Any], where: str) -> Task:
    if row.get("task") not in TASKS:
        raise ConfigError(f"{where}: task is {row.get('task')!r}; give one of {', '.join(TASKS)}")
    return row["task"]


def _options(row: Mapping[str, Any], where: str) -> tuple[str, str, str, str]:
    options = row.get("options")
    if not isinstance(options, list) or len(options) != 4 or not all(isinstance(o, str) and o.strip() for o in options):
        raise ConfigError(f"{where}: options is {options!r}; give four texts, none of them empty")
    if len({" ".join(option.split()).casefold() for option in options}) < 4:
        raise ConfigError(f"{where}: two options are equal; make the four texts differ")
    return (options[0], options[1], options[2], options[3])


def _gold(row: Mapping[str, Any], where: str) -> int:
    letter = row.get("gold")
    if not isinstance(letter, str) or letter not in tuple(LETTERS):
        raise ConfigError(f"{where}: gold is {letter!r}; give the letter of the right option, A to D")
    return LETTERS.index(letter)


def _prompts(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    prompts = row.get("prompts") or []
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise ConfigError(f"{where}: prompts is {prompts!r}; give a list of texts")
    for number, prompt in enumerate(prompts, start=1):
        check_slots(prompt, f"{where}: prompt {number}")
    return tuple(prompts)


def check_slots(prompt: str, where: str) -> str:
    """Returns a prompt that has one slot for each of the four options; ConfigError otherwise."""
    if prompt.count(SLOT) != 4:
        raise ConfigError(f"{where} has {prompt.count(SLOT)} slots; write {SLOT} four times, once for each option")
    return prompt


def facets_field(row: Mapping[str, Any], where: str, known: Sequence[str] | None) -> tuple[str, ...]:
    """The facets of a record; each must be known, if a list of known ones is given."""
    facets = row.get("facets") or []
    if not isinstance(facets, list) or not all(isinstance(facet, str) and facet.strip() for facet in facets):
        raise ConfigError(f"{where}: facets is {facets!r}; give a list of words")
    unknown = [facet for facet in facets if known is not None and facet not in known]
    if unknown:
        raise ConfigError(f"{where}: facet {unknown[0]!r} is unknown; we know {', '.join(known or ())}")
    return tuple(facets)
