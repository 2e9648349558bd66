"""Taxonomies that others have published, read from their CSV files: OpenAlex's topics and the fields of ISCED-F.

    OpenAlex    domain > field > subfield, and its topics as the subfield's scope
    ISCED-F     broad > narrow > detailed field, and its programmes as the detailed field's scope

Nothing of them is in this package. What is written from them keeps its source's licence: OpenAlex is CC0, the ISCED-F files
are share-alike.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidfuzz import fuzz, process

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.systems.glan.tree import Discipline

LIKENESS = 85
"""From this score of rapidfuzz's token_set_ratio on, two names are about the same."""


@dataclass(frozen=True)
class Layout:
    """The columns of a file: three levels, and what a discipline is about."""

    levels: tuple[str, str, str]
    scope: str
    kind: str = ""


LAYOUTS = {
    "openalex": Layout(("domain", "field", "subfield"), "topic", "academic"),
    "isced": Layout(("broad", "narrow", "detailed"), "programme"),
}


def read_published(path: Path) -> tuple[Discipline, ...]:
    """The disciplines of a file, in its order, each once with all that it is about.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: its columns are of no known layout, a row lacks a name, or it holds no row.
    """
    if not path.is_file():
        raise MissingArtifactError(f"no file {str(path)!r}; give a CSV file of OpenAlex's topics or of ISCED-F")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        layout = _layout_of(rows.fieldnames or (), path)
        scopes: dict[tuple[str, str, str], dict[str, None]] = {}
        for number, row in enumerate(rows, 2):
            broad, middle, narrow = layout.levels
            names = _plain(row[broad] or ""), _plain(row[middle] or ""), _plain(row[narrow] or "")
            if not all(names):
                raise ConfigError(f"{path} line {number} lacks a name; {', '.join(layout.levels)} are needed in every row")
            topic = _plain(row[layout.scope] or "")
            scopes.setdefault(names, {}).update({topic: None} if topic and topic != names[2] else {})
    if not scopes:
        raise ConfigError(f"{path} holds no row; give a CSV file of OpenAlex's topics or of ISCED-F")
    return tuple(Discipline(a, b, c, tuple(topics), layout.kind) for (a, b, c), topics in scopes.items())


def _layout_of(columns: Sequence[str], path: Path) -> Layout:
    for layout in LAYOUTS.values():
        if {*layout.levels, layout.scope} <= set(columns):
            return layout
    known = "; or ".join(", ".join((*layout.levels, layout.scope)) for layout in LAYOUTS.values())
    raise ConfigError(f"{path} has the columns {', '.join(columns) or 'none'}; we read {known}")


def _plain(name: str) -> str:
    """Without the marks by which our own files tell a name from its scope."""
    return " ".join(name.replace(":", " -").replace(";", ",").replace(">", "-").split())


def covered_by(disciplines: Sequence[Discipline], others: Sequence[Discipline]) -> list[str]:
    """The names of `disciplines` for which `others` have a discipline, a branch or a topic of about that name."""
    known = list({name.lower() for other in others for name in (other.field, other.branch, other.name, *other.scope)})
    names = list(dict.fromkeys(discipline.name for discipline in disciplines))
    scores = process.cdist([name.lower() for name in names], known, scorer=fuzz.token_set_ratio, score_cutoff=LIKENESS)
    return [name for name, best in zip(names, scores.max(axis=1).tolist(), strict=True) if best >= LIKENESS]
