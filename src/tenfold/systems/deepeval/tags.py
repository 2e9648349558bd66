"""Which facets a picture has, and who says so: a table `image_id,facet,source,confidence`, as CSV or JSON lines.

Several facets may hold of one picture. People's tags and a model's are never mixed: each source has its own table.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.evals.statistics import kappa
from tenfold.systems.deepeval.items import numbered, text_field

FACETS = ("humorous", "critical", "touching", "philosophical", "inspiring", "satirical")
"""The paper's six; it released no tags."""
SURE = 0.5
"""From this confidence on a facet counts as present."""


@dataclass(frozen=True)
class Tag:
    """One facet of one picture; `confidence` is 0 to 1."""

    image_id: str
    facet: str
    source: str = "user"
    confidence: float = 1.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_tags(path: Path, known: Sequence[str] = FACETS) -> list[Tag]:
    """Reads a user's tags.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is no tag, or its facet is unknown; the message gives the line and the reason.
    """
    return [_tag(row, where, known) for row, where in (_csv_rows(path) if path.suffix == ".csv" else numbered(path))]


def _csv_rows(path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    if not path.is_file():
        raise MissingArtifactError(f"no file {str(path)!r}; give a table image_id,facet,source,confidence (.csv or .jsonl)")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        for row in reader:
            yield row, f"{path} line {reader.line_num}"


def _tag(row: Mapping[str, Any], where: str, known: Sequence[str]) -> Tag:
    facet = text_field(row, "facet", where).strip()
    if facet not in known:
        raise ConfigError(f"{where}: facet {facet!r} is unknown; we know {', '.join(known)}; add yours with --facets")
    return Tag(
        image_id=text_field(row, "image_id", where).strip(),
        facet=facet,
        source=str(row.get("source") or "user").strip(),
        confidence=_confidence(row.get("confidence"), where),
    )


def _confidence(value: Any, where: str) -> float:
    if value in (None, ""):
        return 1.0
    try:
        confidence = float(value)
    except (TypeError, ValueError):
        confidence = -1.0
    if not 0 <= confidence <= 1:
        raise ConfigError(f"{where}: confidence is {value!r}; give a number from 0 to 1, or leave it out")
    return confidence


def present(tags: Iterable[Tag]) -> dict[str, frozenset[str]]:
    """The facets that hold of each tagged picture; a picture with only unsure tags has none."""
    facets: dict[str, set[str]] = {}
    for tag in tags:
        facets.setdefault(tag.image_id, set()).update({tag.facet} if tag.confidence >= SURE else set())
    return {image_id: frozenset(found) for image_id, found in facets.items()}


def agreement(ours: Iterable[Tag], theirs: Iterable[Tag], facets: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """For each facet Cohen's kappa over the pictures that both sources tagged; without such a picture, none."""
    first, second = present(ours), present(theirs)
    both = sorted(first.keys() & second.keys())
    if not both:
        return {}
    return {
        facet: {"n": len(both), "kappa": kappa([facet in first[i] for i in both], [facet in second[i] for i in both])}
        for facet in facets
    }
