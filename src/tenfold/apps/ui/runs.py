"""What the page shows of the run directories: their list, one run, and the files of static pages inside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tenfold.core.config import read_toml
from tenfold.core.errors import MissingArtifactError
from tenfold.core.records import Metrics
from tenfold.store import runs as store

SHOWN = {".html", ".css", ".js", ".json", ".png", ".svg", ".jpg"}
"""Kinds of files that are given out."""
TIME = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class ShownRun:
    """A run directory as the page sees it."""

    folder: Path

    @property
    def kind(self) -> str:
        """`specdec-specbench`, or `recipe-...`"""
        return self.folder.parent.name

    @property
    def title(self) -> str:
        return self.kind.replace("-", " ", 1)

    @property
    def id(self) -> str:
        """The address of the run below `/runs/`."""
        return f"{self.kind}/{self.folder.name}"

    @property
    def started(self) -> str:
        """Date and time, as a person reads them."""
        try:
            begun = datetime.strptime(self.folder.name.split("-")[0], TIME).replace(tzinfo=UTC)
        except ValueError:  # a folder that somebody has renamed
            return self.folder.name
        return f"{begun:%Y-%m-%d %H:%M:%S}"

    @cached_property
    def metrics(self) -> Metrics | None:
        return store.read_metrics(self.folder)

    @cached_property
    def settings(self) -> dict[str, Any]:
        return read_toml(self.folder / "config.toml")

    @property
    def browsers(self) -> list[str]:
        """Static pages that the run has made, such as the viewer of a data set; the report is not among them."""
        return sorted(str(page.relative_to(self.folder)) for page in self.folder.glob("*/index.html"))

    def file(self, path: str) -> Path:
        """A file that may be given out.

        Raises:
            MissingArtifactError: there is none of that name inside the run, or it is of another kind.
        """
        file = (self.folder / path).resolve()
        if not file.is_relative_to(self.folder.resolve()) or not file.is_file() or file.suffix not in SHOWN:
            raise MissingArtifactError(f"the run {self.id} has no page {path!r}; its own page lists what it has")
        return file


def every(root: Path) -> list[ShownRun]:
    """All runs, the newest first."""
    return sorted(map(ShownRun, store.every(root)), key=lambda run: run.folder.name, reverse=True)


def find(root: Path, kind: str, name: str) -> ShownRun:
    """One run by its address.

    Raises:
        MissingArtifactError: there is no such run.
    """
    for run in every(root):
        if (run.kind, run.folder.name) == (kind, name):
            return run
    raise MissingArtifactError(f"there is no run {kind}/{name} here; the page Runs lists them")


def leaves(value: Any, path: Sequence[str] = ()) -> Iterator[tuple[str, Any]]:
    """Every plain value of nested tables, under its path with dots; lists of tables are numbered, others one value."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, str(key)))
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for place, part in enumerate(value):
            yield from leaves(part, (*path, str(place)))
    else:
        yield ".".join(path), value
