"""The verb `build`: a set of one's own from annotations, with quads, manifest, audit and data card.

Annotations are JSON lines of image_id, description, title, meaning, and if you like image (a file beside the annotations, or
an address that `images` pulls later) and facets. The result is a folder that `run --data FOLDER` takes.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.store import artifacts, atomic
from tenfold.store.runs import Run
from tenfold.systems.deepeval.card import data_card
from tenfold.systems.deepeval.data import ANNOTATIONS, ITEMS
from tenfold.systems.deepeval.items import TASKS, Annotation, Item, Task, read_annotations, write_jsonl
from tenfold.systems.deepeval.manifest import Manifest
from tenfold.systems.deepeval.quads import NUM_PROPOSALS, SIZE, QuadSet, build_quads
from tenfold.systems.deepeval.repair import probe_accuracies

DEMO = "demo"
LEAST = 2 * SIZE
"""Fewer annotations make no two blocks, and rules that learn cannot be tested on one."""
CARD = "README.md"


class BuildConfig(Config):
    """Make a blind-proof set of questions from your own annotations."""

    annotations: str = DEMO
    """JSON lines of image_id, description, title, meaning[, image, facets]; demo: 24 of our own, without pictures."""
    out: str | None = None
    """Where to write the set; by default into the run directory."""
    facets: Names = ()
    """The facets that may occur; if none are given, any may."""
    licence: str = "not stated"
    """Under which terms the pictures and texts may be used; goes into the card and the manifest."""
    proposals: int = Field(default=NUM_PROPOSALS, ge=0)
    """Swaps to try, for each task, in the search for blocks of alike texts."""
    seed: int = 0
    """Of the blocks."""


def build(config: BuildConfig, run: Run) -> Metrics:
    """Writes the set and its card; one row per task.

    Raises:
        ConfigError: a line is no annotation, or a facet is unknown.
        UserError: fewer than eight annotations.
    """
    annotations, beside = load(config)
    folder = Path(config.out) if config.out else run.folder / "set"
    sets = _quads(annotations, config)
    _check(sets)
    statuses = take_pictures(Manifest(folder), annotations, beside, config.licence)
    digests = write(folder, sets, annotations)
    todo: list[Task] = [task for task in TASKS if task not in run.rows]
    for task in todo:
        run.add(task, _row(sets[task], seed=config.seed))
    probes: dict[Task, dict[str, float]] = {task: run.rows[task]["probes"] for task in TASKS}
    card = data_card(
        name=beside.name if config.annotations != DEMO else "Tenfold's demonstration set",
        num_pictures=len(annotations),
        num_files=statuses.get("ok", 0),
        sets=sets,
        probes=probes,
        files=digests,
        licence=config.licence if config.annotations != DEMO else "CC0 1.0, written for Tenfold",
        seed=config.seed,
    )
    atomic.write_text(folder / CARD, card)
    return _metrics(sets, probes) | {"folder": str(folder), "annotations": len(annotations), "pictures": statuses}


def _quads(annotations: Sequence[Annotation], config: BuildConfig) -> dict[Task, QuadSet]:
    return {task: build_quads(annotations, task, seed=config.seed, num_proposals=config.proposals) for task in TASKS}


def load(config: BuildConfig) -> tuple[list[Annotation], Path]:
    """The annotations, and the file they came from, beside which pictures are looked for."""
    known = config.facets or None
    if config.annotations == DEMO:
        with as_file(files("tenfold.systems.deepeval").joinpath("annotations", "cartoons.jsonl")) as path:
            return read_annotations(path, known_facets=known), path
    path = Path(config.annotations)
    annotations = read_annotations(path, known_facets=known)
    if len(annotations) < LEAST:
        raise UserError(f"{path} holds {len(annotations)} annotations; blocks of four take at least {LEAST}, so add more")
    return annotations, path


def _check(sets: Mapping[Task, QuadSet]) -> None:
    for task, quads in sets.items():
        if quads.num_blocks < 2:
            raise UserError(f"too many texts for {task!r} are equal: only {quads.num_blocks} block of four different ones")


def take_pictures(manifest: Manifest, annotations: Sequence[Annotation], beside: Path, licence: str) -> dict[str, int]:
    """Files the local pictures; returns how many have which status. Addresses on the web are left to `images`."""
    statuses: dict[str, int] = {}
    for annotation in annotations:
        status = _take(manifest, annotation, beside, licence)
        statuses[status] = statuses.get(status, 0) + 1
    if manifest.entries:
        manifest.compact()
    return statuses


def _take(manifest: Manifest, annotation: Annotation, beside: Path, licence: str) -> str:
    if not annotation.image:
        return "none"
    if annotation.image.startswith(("http://", "https://")):
        return "to_pull"
    path = beside.parent / annotation.image
    if not path.is_file():
        return manifest.refuse(annotation.image_id, "", "gone", f"no file {annotation.image}").status
    return manifest.accept(annotation.image_id, "", path.read_bytes(), licence_note=licence).status


def write(folder: Path, sets: Mapping[Task, QuadSet], annotations: Sequence[Annotation]) -> dict[str, str]:
    """Writes questions and annotations; returns the checksum of each file."""
    items: list[Item] = [item for quads in sets.values() for item in quads.items]
    write_jsonl(folder / ITEMS, items)
    write_jsonl(folder / ANNOTATIONS, annotations)
    return {name: artifacts.sha256(folder / name) for name in (ITEMS, ANNOTATIONS)}


def _row(quads: QuadSet, *, seed: int) -> dict[str, Any]:
    return {"blocks": quads.num_blocks, "probes": probe_accuracies(quads.items, seed=seed)}


def _metrics(sets: Mapping[Task, QuadSet], probes: Mapping[Task, Mapping[str, float]]) -> Metrics:
    return {
        "blocks": {task: quads.num_blocks for task, quads in sets.items()},
        "left_out": {task: list(quads.left_out) for task, quads in sets.items()},
        "strongest_probe": max(max(accuracies.values()) for accuracies in probes.values()),
        "num_probes": min(len(accuracies) for accuracies in probes.values()),
        "mean_cosine": {task: quads.mean_cosine for task, quads in sets.items()},
        "max_cosine": {task: quads.max_cosine for task, quads in sets.items()},
    }


def summary(metrics: Metrics) -> str:
    """Where the set is, and what is in it."""
    pictures = ", ".join(f"{status} {number}" for status, number in metrics["pictures"].items())
    blocks = ", ".join(f"{task} {number}" for task, number in metrics["blocks"].items())
    return "\n".join(
        [
            f"{metrics['annotations']} annotations; blocks: {blocks}; pictures: {pictures}",
            f"strongest of {metrics['num_probes']} blind probes: {metrics['strongest_probe']:.1%} exactly",
            f"set and data card: {metrics['folder']}",
        ]
    )
