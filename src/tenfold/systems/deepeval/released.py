"""The published files: 1,001 annotated cartoons and three questions about each (deepeval.md section 3).

Traps: the files are JSON lines despite their names; one name is misspelt; the rows of the description file are in another
order, so everything is joined by Image_ID. The first public release had a broken answer key. A file whose gold texts are
not the annotations' own is therefore refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.core.errors import ConfigError, MissingArtifactError, UserError
from tenfold.store import artifacts
from tenfold.systems.deepeval.items import LETTERS, Annotation, Item, Task, check_slots, numbered, text_field

ANNOTATIONS = "Annotation.json"
QUESTIONS: dict[Task, str] = {
    "description": "Descripion_Questions.json",
    "title": "Title_Questions.json",
    "meaning": "DeepSemantics_Questions.json",
}
KNOWN_SHA256 = {
    ANNOTATIONS: "23a47ba2a8a4",
    "Descripion_Questions.json": "6283a155806d",
    "Title_Questions.json": "efb90b8d523e",
    "DeepSemantics_Questions.json": "9d118c1401b0",
}
"""The first digits of the checksums of the files that our numbers were measured on."""
LEAST_KEY_AGREEMENT = 0.995


@dataclass(frozen=True)
class KeyCheck:
    """How far the answer key of one task can be believed, and which options look doubtful."""

    agreement: float
    """Share of rows whose gold text is the annotation's own."""
    equal_options: tuple[str, ...]
    """Questions with two equal options."""
    nested_options: tuple[str, ...]
    """Questions in which an option, less its last character, lies inside another one."""
    known_file: bool
    """Whether the file is the one that our numbers were measured on."""


def is_released(folder: Path) -> bool:
    """Whether a folder holds the published files."""
    return (folder / ANNOTATIONS).is_file()


def load_annotations(folder: Path) -> dict[str, Annotation]:
    """The annotations by Image_ID.

    Raises:
        MissingArtifactError: the file is not there.
        ConfigError: a line is no annotation, or a picture comes twice.
    """
    annotations: dict[str, Annotation] = {}
    for row, where in numbered(_existing(folder, ANNOTATIONS)):
        image_id = text_field(row, "Image_ID", where)
        if image_id in annotations:
            raise ConfigError(f"{where}: Image_ID {image_id!r} comes twice; give each picture one line")
        annotations[image_id] = Annotation(
            image_id=image_id,
            description=text_field(row, "Description", where),
            title=text_field(row, "Title", where),
            meaning=text_field(row, "Deep_Semantics", where),
            image=text_field(row, "Url", where),
        )
    return annotations


def load_questions(folder: Path, task: Task, annotations: Mapping[str, Annotation]) -> tuple[list[Item], KeyCheck]:
    """The questions of a task with raw, leaky options, in the order of the file; checks the answer key.

    Raises:
        MissingArtifactError: the file is not there.
        ConfigError: a line is no question, or asks about a picture without annotation.
        UserError: the answer key is broken.
    """
    path = _existing(folder, QUESTIONS[task])
    items = [_question(row, where, task) for row, where in numbered(path)]
    for item in items:
        if item.image_id not in annotations:
            raise ConfigError(f"{path}: {item.image_id!r} has no annotation; both files must be of one release")
    return items, _check_key(path, items, annotations)


def _existing(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise MissingArtifactError(f"no file {name!r} in {folder}; give the folder of the published files")
    return folder / name


def _question(row: Mapping[str, Any], where: str, task: Task) -> Item:
    options = row.get("Options")
    if not isinstance(options, dict) or sorted(options) != list(LETTERS):
        raise ConfigError(f"{where}: Options is {options!r}; give a text for each of A, B, C and D")
    if row.get("Answer") not in tuple(LETTERS):
        raise ConfigError(f"{where}: Answer is {row.get('Answer')!r}; give the letter of the right option, A to D")
    a, b, c, d = (text_field(options, letter, where) for letter in LETTERS)
    image_id = text_field(row, "Image_ID", where)
    return Item(
        id=f"{task}-{image_id}",
        image_id=image_id,
        task=task,
        options=(a, b, c, d),
        gold=LETTERS.index(row["Answer"]),
        prompts=tuple(_prompt(row, number, where) for number in (1, 2, 3)),
    )


def _prompt(row: Mapping[str, Any], number: int, where: str) -> str:
    return check_slots(text_field(row, f"Prompt_{number}", where), f"{where}: Prompt_{number}")


def _check_key(path: Path, items: Sequence[Item], annotations: Mapping[str, Annotation]) -> KeyCheck:
    right = sum(item.answer.strip() == annotations[item.image_id].text(item.task).strip() for item in items)
    if not items or right / len(items) < LEAST_KEY_AGREEMENT:
        raise UserError(
            f"the answer key of {path} is broken: only {right} of {len(items)} gold texts are the annotation's own"
            " (the first public release had such a key); get the corrected files"
        )
    return KeyCheck(
        agreement=right / len(items),
        equal_options=tuple(item.id for item in items if len({option.strip() for option in item.options}) < 4),
        nested_options=tuple(item.id for item in items if _is_nested(item.options)),
        known_file=artifacts.sha256(path).startswith(KNOWN_SHA256[path.name]),
    )


def _is_nested(options: Sequence[str]) -> bool:
    return any(
        inner[:-1] in outer for place, inner in enumerate(options) for other, outer in enumerate(options) if other != place
    )


def prompts_of(items: Sequence[Item]) -> tuple[str, ...]:
    """The prompts that these questions share; UserError where they do not."""
    kinds = {item.prompts for item in items}
    if len(kinds) != 1:
        raise UserError(f"these questions have {len(kinds)} different sets of prompts; blocks need one for all")
    return kinds.pop()
