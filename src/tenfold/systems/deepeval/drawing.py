"""The verb `scenes`: draws our own sixty-four scenes and writes their questions, as a set that `run` and others can use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.records import Metrics, Page, Picture, Pictures
from tenfold.llm.chat import Image
from tenfold.store import artifacts
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.deepeval.data import ANNOTATIONS, ITEMS
from tenfold.systems.deepeval.items import write_jsonl
from tenfold.systems.deepeval.manifest import Manifest
from tenfold.systems.deepeval.repair import probe_accuracies
from tenfold.systems.deepeval.scenes import album

FACTORS = "factors.jsonl"
NUM_SHOWN = 8


class ScenesConfig(Config):
    """Draw our own scenes, with questions that take two details to answer."""

    out: str | None = None
    """Where to write pictures and questions; by default into the run directory."""
    size: int = Field(default=album.PIXELS, ge=64, le=2048)
    """Width and height of a picture, in pixels."""
    seed: int = 0
    """Of colours and details, and of the order of options."""


def scenes(config: ScenesConfig, run: Run) -> Metrics:
    """Draws every scene, writes ordinary blocks and factor quads, and runs the blind probes on both; one row per scene."""
    folder = Path(config.out) if config.out else run.folder / "set"
    manifest = Manifest(folder)
    for image_id in track(list(album.all_scenes()), "scenes"):
        picture = album.picture(image_id, seed=config.seed, size=config.size)
        assert picture is not None, image_id
        entry = manifest.accept(image_id, "", picture.data, repin=True, licence_note=album.LICENCE)
        if image_id not in run.rows:
            run.add(image_id, {"sha256": entry.sha256, **_texts(image_id)})
    manifest.compact()
    ordinary, factors = album.load(seed=config.seed), album.load_factors(seed=config.seed)
    write_jsonl(folder / ITEMS, ordinary.items)
    write_jsonl(folder / FACTORS, factors.items)
    write_jsonl(folder / ANNOTATIONS, ordinary.annotations.values())
    probes = {"ordinary": probe_accuracies(ordinary.items), "factors": probe_accuracies(factors.items)}
    return {
        "scenes": len(album.all_scenes()),
        "questions": {"ordinary": len(ordinary.items), "factors": len(factors.items)},
        "strongest_probe": max(max(accuracies.values()) for accuracies in probes.values()),
        "folder": str(folder),
        "files": {name: artifacts.sha256(folder / name) for name in (ITEMS, FACTORS, ANNOTATIONS)},
    }


def _texts(image_id: str) -> dict[str, Any]:
    annotation = album.all_scenes()[image_id].annotation
    return {"title": annotation.title, "meaning": annotation.meaning, "description": annotation.description}


def summary(metrics: Metrics) -> str:
    """How many pictures and questions there are, and where."""
    questions = metrics["questions"]
    return "\n".join(
        [
            f"{metrics['scenes']} scenes, {questions['ordinary']} questions in ordinary blocks, {questions['factors']} in"
            f" factor quads; strongest blind probe {metrics['strongest_probe']:.1%} exactly",
            f"pictures and questions: {metrics['folder']}",
        ]
    )


def page(rows: Sequence[dict[str, Any]], metrics: Metrics) -> Page:
    """A look at some scenes: two situations, each with the four combinations of its facets."""
    shown = [row["key"] for row in rows][:NUM_SHOWN]
    pictures = [_thumbnail(image_id) for image_id in shown if image_id in album.all_scenes()]
    return Page(
        "See: scenes of our own",
        f"{metrics['scenes']} drawn scenes ask {metrics['questions']['factors']} questions in which two details decide.",
        [
            "These pictures are ours and free to use (CC0), so that a vision model can be tested without fetching anybody's"
            " cartoons. Each situation is drawn four times, with all combinations of two details; the four descriptions"
            " differ in just these. A model must see both details to be right, and one that does not look is right once in"
            " four times, exactly."
        ],
        {"Scenes": str(metrics["scenes"]), "Blind rules score": f"{metrics['strongest_probe']:.0%} exactly"},
        [Pictures("Two situations, four ways each", "Below each picture its title.", pictures)],
    )


def _thumbnail(image_id: str) -> Picture:
    picture: Image | None = album.picture(image_id, size=192)
    assert picture is not None, image_id
    return Picture(picture.data_uri, album.all_scenes()[image_id].annotation.title)
