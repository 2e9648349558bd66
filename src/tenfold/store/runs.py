"""Run directories: one folder per run, complete if and only if `metrics.json` is there, resumable by its rows.

    runs/<system>-<verb>/<utc>-<digest>/
        config.toml    the settings, whole          env.json      machine, versions, commit
        results.jsonl  one row per finished piece   log.txt       what happened when
        metrics.json   written last

A run is resumed only under an identical config; the rows already in results.jsonl are not computed again. One process at
a time works in an unfinished run.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import tomli_w

from tenfold.core import jsonl
from tenfold.core.config import Config, difference, read_toml
from tenfold.core.errors import MissingArtifactError, ResumeError
from tenfold.core.records import Metrics
from tenfold.store import atomic, claims, environment


class Run:
    """An open run directory. `rows` are the results so far, by key; `add` makes one more of them durable.

    `live` is where a verb may write text for a person to read at once (None: nobody reads along).
    """

    def __init__(self, folder: Path, config: Config, *, live: TextIO | None = None) -> None:
        self.folder = folder
        self.config = config
        self.live = live
        self.claim = None if self.metrics else claims.claim(folder)
        self.rows: dict[str, Any] = {row["key"]: row for row in jsonl.recover(folder / "results.jsonl")}

    def add(self, key: str, row: dict[str, Any]) -> dict[str, Any]:
        """Appends one finished piece of work under a key that a resumed run will look up."""
        assert "key" not in row, f"a row brings its own key {row['key']!r}; it is filed under {key!r}"
        keyed = {"key": key, **row}
        jsonl.append(self.folder / "results.jsonl", keyed)
        self.rows[key] = keyed
        return keyed

    def log(self, message: str) -> None:
        """Writes one dated line to log.txt."""
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{_utc_now():%Y-%m-%dT%H:%M:%SZ} {message}\n")

    def finish(self, metrics: Metrics) -> Metrics:
        """Writes metrics.json, which marks the run complete."""
        atomic.write_json(self.folder / "metrics.json", metrics)
        self.log("complete")
        self.claim = None
        return metrics

    @property
    def metrics(self) -> Metrics | None:
        """The metrics of a complete run, or None."""
        return read_metrics(self.folder)


def start(root: Path, kind: str, config: Config) -> Run:
    """Opens a new run directory under `root/kind`, with its config and environment written."""
    folder = _fresh_folder(root / kind, config.digest)
    table = config.model_dump(mode="json", exclude_none=True)
    atomic.write_text(folder / "config.toml", tomli_w.dumps(table))
    atomic.write_json(folder / "env.json", environment.describe())
    run = Run(folder, config)
    run.log("started")
    return run


def resume(root: Path, kind: str, config: Config) -> Run:
    """Opens the newest run of this kind with an identical config, complete or not.

    Raises:
        ResumeError: there is no such run; the message names the settings in which the newest run differs.
        UserError: another process is at work in it.
    """
    folders = newest_first(root / kind)
    for folder in folders:
        if folder.name.endswith(f"-{config.digest}"):
            run = Run(folder, config)
            run.log("resumed")
            return run
    if not folders:
        raise ResumeError(f"no run of {kind} under {root} to resume; leave out --resume to start one")
    table = config.model_dump(mode="json", exclude_none=True)
    changes = "; ".join(difference(read_toml(folders[0] / "config.toml"), table))
    raise ResumeError(
        f"cannot resume {folders[0]}: settings differ ({changes}); use the same settings or leave out --resume"
    )


def resume_or_start(root: Path, kind: str, config: Config) -> Run:
    """Continues the newest run with this very config, or starts one."""
    try:
        return resume(root, kind, config)
    except ResumeError:
        return start(root, kind, config)


def find(root: Path, name: str) -> Path:
    """The run directory that `name` means: a path, `<kind>/<folder>`, a folder's name, or a unique beginning of one.

    Raises:
        MissingArtifactError: no run, or several, answer to that name.
    """
    for candidate in (Path(name), root / name):
        if (candidate / "config.toml").is_file():
            return candidate
    matches = [folder for folder in every(root) if folder.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    got = "several runs begin with" if matches else "no run is called"
    raise MissingArtifactError(f"{got} {name!r} under {root}; `tenfold runs` lists them")


def every(root: Path) -> Iterator[Path]:
    """All run directories under `root`, newest first within each kind."""
    for kind in sorted(path for path in root.glob("*") if path.is_dir()):
        yield from newest_first(kind)


def read_metrics(folder: Path) -> Metrics | None:
    """The metrics of a complete run directory, or None if the run is not complete."""
    path = folder / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The result rows of a run directory, whose run may still be at work."""
    return jsonl.read_whole(folder / "results.jsonl")


def read_environment(folder: Path) -> dict[str, Any]:
    """What the run was measured on."""
    return json.loads((folder / "env.json").read_text(encoding="utf-8"))


def newest_first(folder: Path) -> list[Path]:
    return sorted((path.parent for path in folder.glob("*/config.toml")), reverse=True)


def _fresh_folder(parent: Path, digest: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = parent / f"{_utc_now():%Y%m%dT%H%M%S%fZ}-{digest}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue


def _utc_now() -> datetime:
    return datetime.now(UTC)
