"""The verb `build`: data sets for template, filler and rewriter, from your own entities."""

import json
from pathlib import Path

from tenfold.core import jsonl
from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store import atomic
from tenfold.store.artifacts import find_data, sha256
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.slotsum.build import Built, build_rows, join_aspects, statistics
from tenfold.systems.slotsum.entities import OWN, Entity, load_entities

SETS = ("clipped", "slotted", "filler", "rewriter")


class BuildConfig(Config):
    """Make data sets in the manner of WikiFactSum."""

    data: str = OWN
    """Entities with targets: lines of {"title", "infobox", "target", "documents"}."""
    aspects: str = ""
    """Title-less rows of {"documents", "aspects"}; then `data` holds {"title", "infobox", "sections", "target"}."""
    to: str = ""
    """Folder for the sets; the run's folder if left out."""
    licence: str = "unknown"
    """Licence of the texts, written into the manifest."""


def build(config: BuildConfig, run: Run) -> Metrics:
    """Builds the sets and a manifest with checksums.

    Raises:
        ConfigError: no entity has a target and documents.
    """
    entities, joined = _entities(config)
    usable = [entity for entity in entities if entity.target and entity.documents]
    if not usable:
        raise ConfigError(f"{config.data} has no entity with a target and documents; a line needs both")
    built = [build_rows(entity) for entity in track(usable, "Entities")]
    folder = Path(config.to) if config.to else run.folder / "sets"
    _write(folder, built)
    checksums = {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.glob("*/*.jsonl"))}
    metrics = statistics(built) | {"left_out": len(entities) - len(usable)} | ({"joining": joined} if joined else {})
    atomic.write_json(folder / "manifest.json", {"licence": config.licence, "sha256": checksums, "statistics": metrics})
    return metrics


def _entities(config: BuildConfig) -> tuple[list[Entity], dict[str, int]]:
    if not config.aspects:
        return load_entities(config.data), {}
    rows, titled = (list(jsonl.read(find_data(name))) for name in (config.aspects, config.data))
    try:
        entities, counts = join_aspects(rows, titled)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"a row lacks {error}; aspects need documents and aspects, titled rows title, infobox, sections"
        ) from None
    return entities, dict(counts)


def _write(folder: Path, built: list[Built]) -> None:
    for name in SETS:
        for split in ("train", "valid", "test"):
            rows = [getattr(one, name) for one in built if one.split == split]
            flat = [row for one in rows for row in (one if isinstance(one, list) else [one])]
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in flat)
            atomic.write_text(folder / name / f"{split}.jsonl", lines)


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    sizes = ", ".join(f"{count} {name}" for name, count in metrics["by_split"].items())
    return (
        f"{metrics['entities']} entities ({sizes}), {metrics['filler_rows']} rows for the filler\n"
        f"{metrics['slots_per_text']:.1f} slots a text; {metrics['left_out']} entities had no target or no documents"
    )
