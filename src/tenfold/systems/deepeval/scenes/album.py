"""The sixty-four scenes: what each shows, its title and its meaning; drawn when asked for; and their questions.

Two sets of questions come from them. `load` makes ordinary blocks for all three tasks. `load_factors` makes factor quads: a
block's four pictures are all combinations of two facets of one situation, and so are its four descriptions, so that a right
answer needs both details; and no answerer can do better than 25 % without looking (deepeval.md section 4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

import PIL.Image

from tenfold.core.errors import UnknownNameError
from tenfold.core.seeds import derive
from tenfold.llm.chat import Image
from tenfold.systems.deepeval.decoding import as_png
from tenfold.systems.deepeval.items import TASKS, Annotation, Item, Task, numbered_text
from tenfold.systems.deepeval.quads import SIZE, build_quads
from tenfold.systems.deepeval.scenes.canvas import Canvas
from tenfold.systems.deepeval.scenes.situations import PAINTERS

PIXELS = 384
NUM_PROPOSALS = 20_000
LICENCE = "CC0 1.0: drawn by Tenfold"
COMBINATIONS: tuple[tuple[int, int], ...] = ((0, 0), (0, 1), (1, 0), (1, 1))


@dataclass(frozen=True)
class Scene:
    """One picture: its situation, the two values of its facets, and what is said about it."""

    situation: str
    values: tuple[int, int]
    annotation: Annotation

    @property
    def image_id(self) -> str:
        return self.annotation.image_id


@dataclass(frozen=True)
class Questions:
    """Questions about scenes, and the scenes' annotations."""

    items: list[Item]
    annotations: Mapping[str, Annotation]


@cache
def all_scenes() -> dict[str, Scene]:
    """The scenes by image_id, the four of a situation after one another."""
    text = files("tenfold.systems.deepeval.scenes").joinpath("texts.jsonl").read_text(encoding="utf-8")
    scenes = [scene for row, _ in numbered_text(text, "texts.jsonl") for scene in _four(row)]
    return {scene.image_id: scene for scene in scenes}


def _four(row: Mapping[str, list]) -> list[Scene]:
    situation = str(row["situation"])
    return [
        Scene(
            situation,
            values,
            Annotation(
                image_id=f"scene-{situation}-{values[0]}{values[1]}",
                description=_described(row, values),
                title=row["titles"][place],
                meaning=row["meanings"][place],
                facets=tuple(f"{facet[0]}:{facet[1 + value]}" for facet, value in zip(row["facets"], values, strict=True)),
            ),
        )
        for place, values in enumerate(COMBINATIONS)
    ]


def _described(row: Mapping[str, list], values: Sequence[int]) -> str:
    text = str(row["description"])
    for place, value in enumerate(values):
        text = text.replace(f"{{{place}}}", row["phrases"][place][value])
    return text


def render_scene(image_id: str, *, seed: int = 0, size: int = PIXELS) -> PIL.Image.Image:
    """Draws a scene; equal arguments give equal pixels. The seed changes colours and details, never the facets.

    Raises:
        UnknownNameError: there is no such scene; the message names the nearest.
    """
    if image_id not in all_scenes():
        raise UnknownNameError("scene", image_id, all_scenes())
    scene = all_scenes()[image_id]
    canvas = Canvas(size)
    PAINTERS[scene.situation](canvas, Random(derive(seed, "scene", scene.situation)), *scene.values)
    return canvas.finish()


def picture(image_id: str, *, seed: int = 0, size: int = PIXELS) -> Image | None:
    """A scene as PNG, or None where there is no such scene."""
    return as_png(render_scene(image_id, seed=seed, size=size)) if image_id in all_scenes() else None


def annotations() -> dict[str, Annotation]:
    return {image_id: scene.annotation for image_id, scene in all_scenes().items()}


def load(*, tasks: Sequence[Task] = TASKS, seed: int = 0) -> Questions:
    """Ordinary blocks: 16 of each task."""
    written = annotations()
    sets = [build_quads(list(written.values()), task, seed=seed, num_proposals=NUM_PROPOSALS) for task in tasks]
    return Questions([item for quads in sets for item in quads.items], written)


def load_factors(*, seed: int = 0) -> Questions:
    """Factor quads: 16 blocks of descriptions, one for each situation, in which every detail counts."""
    scenes = list(all_scenes().values())
    items = [item for start in range(0, len(scenes), SIZE) for item in _factor_block(scenes[start : start + SIZE], seed)]
    return Questions(items, annotations())


def _factor_block(scenes: Sequence[Scene], seed: int) -> list[Item]:
    mixed = Random(derive(seed, "factor quads", scenes[0].situation)).sample(scenes, SIZE)
    a, b, c, d = (scene.annotation.description for scene in mixed)
    return [
        Item(
            id=f"factor-{scene.image_id}",
            image_id=scene.image_id,
            task="description",
            options=(a, b, c, d),
            gold=gold,
            block=f"factor-{scene.situation}",
            facets=scene.annotation.facets,
        )
        for gold, scene in enumerate(mixed)
    ]
