"""Under which conditions a question is asked: with which picture, and with which description of it (deepeval.md section 6).

    picture   true | none | wrong (another item's, seeded, from another block) | blank (grey, same size)
    describe  none | oracle (a person's) | own (the model's, made once from the picture alone) | wrong (another picture's)

Presets name the nine combinations that are of use. A prompt's slots are filled by position, so that options may hold braces.
"""

import io
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from PIL import Image as Pillow

from tenfold.core.errors import ConfigError, UnknownNameError, UserError
from tenfold.core.seeds import derive
from tenfold.llm.chat import Image, Message, user
from tenfold.systems.deepeval.items import SLOT, Item, Task

Picture = Literal["true", "none", "wrong", "blank"]
Describe = Literal["none", "oracle", "own", "wrong"]
GREY = (128, 128, 128)
THUMBNAIL = 200
"""Longest side, in pixels."""
NUM_PROMPTS = 3
NOUNS: dict[Task, str] = {"description": "description", "title": "title", "meaning": "deep meaning"}


@dataclass(frozen=True)
class Arm:
    """One condition."""

    name: str
    picture: Picture
    describe: Describe

    @property
    def shows_picture(self) -> bool:
        """Whether the question itself comes with a picture."""
        return self.picture != "none"

    @property
    def needs_images(self) -> bool:
        """Whether the model must take pictures at all: for the question, or to describe the picture before."""
        return self.shows_picture or self.describe == "own"

    @property
    def is_blind(self) -> bool:
        """Whether nothing in the request depends on the picture."""
        return self.picture == "none" and self.describe == "none"


PRESETS = {
    arm.name: arm
    for arm in (
        Arm("image", "true", "none"),
        Arm("none", "none", "none"),
        Arm("wrong-image", "wrong", "none"),
        Arm("blank", "blank", "none"),
        Arm("oracle", "true", "oracle"),
        Arm("own", "true", "own"),
        Arm("text-oracle", "none", "oracle"),
        Arm("text-own", "none", "own"),
        Arm("text-wrong", "none", "wrong"),
    )
}
TEXT_ARMS = tuple(name for name, arm in PRESETS.items() if not arm.needs_images)


def find(name: str) -> Arm:
    """An arm by the name of its preset, or as `picture+describe`, for example `wrong+oracle`.

    Raises:
        UnknownNameError: neither.
    """
    if name in PRESETS:
        return PRESETS[name]
    picture, plus, describe = name.partition("+")
    if not plus or picture not in get_args(Picture) or describe not in get_args(Describe):
        raise UnknownNameError("arm", name, PRESETS)
    twin = next((arm for arm in PRESETS.values() if (arm.picture, arm.describe) == (picture, describe)), None)
    return twin or Arm(name, picture, describe)  # pyright: ignore[reportArgumentType]


def check(arm: Arm, task: Task, *, model: str, takes_images: bool) -> None:
    """Refuses combinations that mean nothing or that the model cannot take.

    Raises:
        UserError: the human description beside the description task, or a picture for a model that takes none.
    """
    if arm.describe == "oracle" and task == "description":
        raise ConfigError(
            f"arm {arm.name!r} shows the human description, which is the answer of the description task itself; "
            "choose the tasks title or meaning, or another arm"
        )
    if arm.needs_images and not takes_images:
        raise UserError(
            f"arm {arm.name!r} needs a model that takes pictures, and {model!r} takes text only; "
            f"choose a text arm ({', '.join(TEXT_ARMS)}) or a vision model"
        )


def partners(items: Sequence[Item], *, seed: int = 0) -> dict[str, str]:
    """For each picture of one task another one from another block, each used once (a seeded derangement).

    Raises:
        UserError: there are not enough blocks for that.
    """
    blocks: dict[str, list[str]] = defaultdict(list)
    for item in items:
        blocks[item.block or item.id].append(item.image_id)
    generator = random.Random(derive(seed, "wrong picture"))
    order = sorted(blocks)
    generator.shuffle(order)
    pictures = [picture for block in order for picture in generator.sample(sorted(blocks[block]), len(blocks[block]))]
    step = max(map(len, blocks.values()), default=1)
    if len(pictures) < 2 * step:
        raise UserError(
            f"the wrong picture must come from another block, but there are only {len(blocks)} blocks of up to {step} "
            f"items; use more data, or leave out arms with wrong"
        )
    return {picture: pictures[(place + step) % len(pictures)] for place, picture in enumerate(pictures)}


def blank(picture: Image) -> Image:
    """A grey picture of the same size, as PNG."""
    with Pillow.open(io.BytesIO(picture.data)) as original:
        return _grey(original.size)


def thumbnail(picture: Image) -> Image:
    """A small copy as JPEG, for a page of a report."""
    with Pillow.open(io.BytesIO(picture.data)) as original:
        small = original.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return Image(buffer.getvalue(), "image/jpeg")


@cache
def _grey(size: tuple[int, int]) -> Image:
    buffer = io.BytesIO()
    Pillow.new("RGB", size, GREY).save(buffer, "PNG")
    return Image(buffer.getvalue(), "image/png")


def fill(template: str, values: Sequence[str]) -> str:
    """Puts the values into the template's `{}` slots in order; what the values hold is left as it is.

    Raises:
        ConfigError: there are not as many slots as values.
    """
    pieces = template.split(SLOT)
    if len(pieces) != len(values) + 1:
        raise ConfigError(f"the prompt {template[:60]!r} has {len(pieces) - 1} slots for {len(values)} texts; give one each")
    return "".join(piece + value for piece, value in zip(pieces, [*values, ""], strict=True))


def question(item: Item, prompt: int, options: Sequence[str]) -> str:
    """The question in prompt format 1 to 3 with these options: the record's own wording, else ours."""
    templates = item.prompts or own_prompts(item.task)
    if not 1 <= prompt <= len(templates):
        raise ConfigError(f"item {item.id} has {len(templates)} prompts, so there is no prompt {prompt}; choose another")
    return fill(templates[prompt - 1], options)


def message(question: str, picture: Image | None, description: str | None) -> Message:
    """The user's turn: the picture, the description, the question, each where there is one."""
    described = "" if description is None else fill(read_prompt("given"), [description])
    text = f"{described}{question}"
    return user(text) if picture is None else user(picture, text)


def collapse(text: str) -> str:
    """The text with each run of white space as one space and none at the ends: blank space must not give the answer away."""
    return " ".join(text.split())


@cache
def read_prompt(name: str) -> str:
    """A text of `prompts/`, without the line end of the file."""
    return (files("tenfold.systems.deepeval") / "prompts" / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")


@cache
def own_prompts(task: Task) -> tuple[str, ...]:
    """Our three prompt formats of a task, for sets that bring none."""
    return tuple(fill(read_prompt(f"ask_{number}"), [NOUNS[task], *[SLOT] * 4]) for number in range(1, NUM_PROMPTS + 1))


def description_of(arm: Arm, item: Item, descriptions: Mapping[str, str], partner: Mapping[str, str]) -> str | None:
    """The description that stands in the question, or None. `descriptions` are the oracle's or the model's own."""
    if arm.describe == "none":
        return None
    return collapse(descriptions[partner[item.image_id] if arm.describe == "wrong" else item.image_id])
