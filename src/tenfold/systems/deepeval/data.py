"""A set of questions by name, with what people wrote about the pictures, and the pictures where there are any.

released   the published questions, raw and leaky as they are
quads      blocks built from the published annotations (quads.py)
scenes     our own pictures, drawn when asked for, with their blocks (scenes/)
factors    the same pictures; descriptions that differ in two details, all four combinations in a block
PATH       a folder of the published files; a folder with items.jsonl (as `build`, `repair` and `scenes` write it); or a
           file of questions, beside which annotations.jsonl and manifest.jsonl are used where they lie
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tenfold.core.errors import UserError
from tenfold.llm.chat import Image
from tenfold.store.artifacts import cache_folder, find_data
from tenfold.systems.deepeval import released
from tenfold.systems.deepeval.items import TASKS, Annotation, Item, Task, read_annotations, read_items
from tenfold.systems.deepeval.manifest import Manifest
from tenfold.systems.deepeval.quads import NUM_PROPOSALS, QuadSet, build_quads
from tenfold.systems.deepeval.released import KeyCheck
from tenfold.systems.deepeval.scenes import album

ALIAS = "deepeval"
ITEMS, ANNOTATIONS = "items.jsonl", "annotations.jsonl"


@dataclass(frozen=True)
class DataSet:
    """Questions and what belongs to them."""

    name: str
    items: Sequence[Item]
    annotations: Mapping[str, Annotation]
    picture: Callable[[str], Image | None]
    """The picture of an image_id, or None where there is none: its questions drop out of all arms."""
    checks: Mapping[Task, KeyCheck] = field(default_factory=dict)
    """What the loader found about the published files."""

    def of(self, task: Task) -> list[Item]:
        """The questions of one task, in order."""
        return [item for item in self.items if item.task == task]


def picture_folder() -> Path:
    """Where pulled pictures of the published set lie, with their manifest."""
    return cache_folder() / ALIAS


def load(name: str, *, tasks: Sequence[Task] = TASKS, seed: int = 0) -> DataSet:
    """Loads a set of questions; `seed` is that of the quads.

    Raises:
        MissingArtifactError: there is no such file or alias.
        ConfigError: a line is no question; the message gives its number.
        UserError: the answer key is broken, or a path is no set of questions.
    """
    if name == "scenes":
        drawn = album.load(tasks=tasks, seed=seed)
        return DataSet(name, drawn.items, drawn.annotations, album.picture)
    if name == "factors":
        drawn = album.load_factors(seed=seed)
        return DataSet(name, [item for item in drawn.items if item.task in tasks], drawn.annotations, album.picture)
    if name == "quads":
        return load_quads(find_data(ALIAS), tasks=tasks, seed=seed)
    path = find_data(ALIAS if name == "released" else name)
    if path.is_dir() and released.is_released(path):
        return load_released(path, tasks=tasks)
    return _load_own(path, tasks)


def load_released(folder: Path, *, tasks: Sequence[Task] = TASKS) -> DataSet:
    """The published questions with raw options."""
    annotations = released.load_annotations(folder)
    items: list[Item] = []
    checks: dict[Task, KeyCheck] = {}
    for task in tasks:
        questions, checks[task] = released.load_questions(folder, task, annotations)
        items += questions
    return DataSet(
        name="released",
        items=items,
        annotations=annotations,
        picture=Manifest(picture_folder()).picture,
        checks=checks,
    )


def load_quads(folder: Path, *, tasks: Sequence[Task] = TASKS, seed: int = 0) -> DataSet:
    """Blocks built from the published annotations, with the published prompts."""
    source = load_released(folder, tasks=tasks)
    sets = quads_of(source, tasks=tasks, seed=seed)
    items = [item for quads in sets.values() for item in quads.items]
    return DataSet("quads", items, source.annotations, source.picture, source.checks)


def quads_of(
    source: DataSet, *, tasks: Sequence[Task] = TASKS, seed: int = 0, num_proposals: int = NUM_PROPOSALS
) -> dict[Task, QuadSet]:
    """The blocks of each task, from a set's annotations and its questions' own prompts."""
    annotations = list(source.annotations.values())
    return {
        task: build_quads(
            annotations, task, prompts=released.prompts_of(source.of(task)), seed=seed, num_proposals=num_proposals
        )
        for task in tasks
    }


def _load_own(path: Path, tasks: Sequence[Task]) -> DataSet:
    file = path / ITEMS if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"folder {path} holds neither {ITEMS} nor the published files; give a set that `build` wrote")
    beside = file.parent / ANNOTATIONS
    annotations = read_annotations(beside) if beside.is_file() else []
    return DataSet(
        name=path.name,
        items=[item for item in read_items(file) if item.task in tasks],
        annotations={annotation.image_id: annotation for annotation in annotations},
        picture=Manifest(file.parent).picture,
    )


def load_annotations(name: str) -> dict[str, Annotation]:
    """What people wrote about the pictures of a set: deepeval, scenes, a folder of a set, or a file of annotations.

    Raises:
        MissingArtifactError: there is no such file or alias.
        ConfigError: a line is no annotation; the message gives its number.
    """
    if name == "scenes":
        return album.annotations()
    path = find_data(name)
    if path.is_dir() and released.is_released(path):
        return released.load_annotations(path)
    file = path / ANNOTATIONS if path.is_dir() else path
    return {annotation.image_id: annotation for annotation in read_annotations(file)}
