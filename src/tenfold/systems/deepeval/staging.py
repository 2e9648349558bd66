"""What every arm shows: the pictures, the partners that stand in for them, and whose description is given.

A `Stage` holds the questions that take part. Where an arm needs pictures, questions without one drop out of all arms, whole
blocks at a time, so that every arm asks the same questions.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tenfold.core.errors import UserError
from tenfold.llm.chat import ChatRequest, Image, user
from tenfold.systems.deepeval.arms import Arm, blank, collapse, description_of, partners, read_prompt
from tenfold.systems.deepeval.asking import Ask, Manner, read_item
from tenfold.systems.deepeval.data import DataSet
from tenfold.systems.deepeval.items import Item, Task

DESCRIPTION_TOKENS = 160


class Album:
    """The pictures of a set by id, each decoded once."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._found: dict[str, Image | None] = {}

    def find(self, image_id: str) -> Image | None:
        """A picture, or None where it is not here."""
        if image_id not in self._found:
            self._found[image_id] = self._data.picture(image_id)
        return self._found[image_id]

    def get(self, image_id: str) -> Image:
        """A picture that must be here; stages hold only questions that have theirs."""
        found = self.find(image_id)
        assert found is not None, f"the picture of {image_id!r} is missing, though its question takes part"
        return found


@dataclass(frozen=True)
class Stage:
    """The questions of one task that take part, and what can be shown with them."""

    items: Sequence[Item]
    data: DataSet
    album: Album
    partner: Mapping[str, str]
    """Another picture for each one, from another block."""
    num_without_picture: int = 0
    """Questions that dropped out."""

    @cached_property
    def image_ids(self) -> list[str]:
        """Every picture that some arm may show, each once."""
        own = [item.image_id for item in self.items]
        return list(dict.fromkeys([*own, *(self.partner[image_id] for image_id in own if image_id in self.partner)]))

    def picture(self, arm: Arm, item: Item) -> Image | None:
        """The picture that stands in the question, or None."""
        if arm.picture == "none":
            return None
        if arm.picture == "wrong":
            return self.album.get(self.partner[item.image_id])
        original = self.album.get(item.image_id)
        return blank(original) if arm.picture == "blank" else original

    def description(self, arm: Arm, item: Item, own: Mapping[str, str]) -> str | None:
        """The description that stands in the question, or None. `own` are the model's own by picture."""
        return description_of(arm, item, own if arm.describe == "own" else self.written, self.partner)

    @cached_property
    def written(self) -> dict[str, str]:
        """People's descriptions by picture."""
        return {image_id: annotation.description for image_id, annotation in self.data.annotations.items()}

    def can_ask(self, arm: Arm, item: Item, own: Mapping[str, str]) -> bool:
        """Whether the model has described the picture, where that is needed."""
        return arm.describe != "own" or item.image_id in own

    def readings(self, arm: Arm, item: Item, manner: Manner, own: Mapping[str, str]) -> list[Ask]:
        """All readings of a question under an arm."""
        return read_item(item, manner, self.picture(arm, item), self.description(arm, item, own))


def stage(
    data: DataSet, album: Album, task: Task, arms: Sequence[Arm], *, limit_blocks: int | None = None, seed: int = 0
) -> Stage:
    """Chooses the questions of a task that take part; `limit_blocks` keeps the first blocks (or questions without block).

    Raises:
        UserError: none is left, a description is missing, or `wrong` has no other block to take from.
    """
    everything = data.of(task)
    items = _with_pictures(everything, album) if any(arm.needs_images for arm in arms) else everything
    if not items:
        raise UserError(_why_none(data, task, len(everything)))
    needs_partner = any("wrong" in (arm.picture, arm.describe) for arm in arms)
    partner = partners(items, seed=seed) if needs_partner else {}
    staged = Stage(first_blocks(items, limit_blocks), data, album, partner, len(everything) - len(items))
    if any(arm.describe in ("oracle", "wrong") for arm in arms):
        _check_descriptions(staged)
    return staged


def _why_none(data: DataSet, task: Task, num_items: int) -> str:
    if not num_items:
        return f"data {data.name!r} holds no question of task {task!r}; choose another task or other data"
    return (
        f"none of the {num_items} {task} questions of {data.name!r} has its picture here (a block counts only whole); "
        "get pictures with `tenfold deepeval images`, use data=scenes, or choose text arms"
    )


def _with_pictures(items: Sequence[Item], album: Album) -> list[Item]:
    missing = {_group(item) for item in items if album.find(item.image_id) is None}
    return [item for item in items if _group(item) not in missing]


def _group(item: Item) -> str:
    return item.block or item.id


def first_blocks(items: Sequence[Item], limit: int | None) -> list[Item]:
    """The items of the first `limit` blocks; outside blocks an item counts as one."""
    blocks: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        blocks[_group(item)].append(item)
    return [item for block in list(blocks.values())[:limit] for item in block]


def _check_descriptions(staged: Stage) -> None:
    missing = next((image_id for image_id in staged.image_ids if image_id not in staged.written), None)
    if missing is not None:
        raise UserError(
            f"picture {missing!r} has no human description, which the arms oracle and wrong give; "
            "put annotations.jsonl beside the questions, or choose other arms"
        )


def to_describe(picture: Image) -> ChatRequest:
    """Asks the model for its own description of a picture; the options stay unseen."""
    return ChatRequest((user(picture, read_prompt("describe")),), max_tokens=DESCRIPTION_TOKENS)


def described(text: str) -> str:
    """The model's description as it will be given, in one line."""
    return collapse(text)
