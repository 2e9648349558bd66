"""The verb `images`: gets the pictures of a set, keeps them with their checksums, and tells which links are dead.

report    what the manifest says, by host (asks nobody)
pull      fetch what is missing; only with --accept-terms, for the pictures belong to third parties
add       take local files, each named after its image_id
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.deepeval.data import load_annotations, picture_folder
from tenfold.systems.deepeval.fetching import Fetcher, is_public
from tenfold.systems.deepeval.manifest import THIRD_PARTY, Entry, Manifest, rot_report
from tenfold.systems.deepeval.pulling import needing, pull


class ImagesConfig(Config):
    """Fetch or add the pictures of a set, and report dead links."""

    action: Literal["report", "pull", "add"] = "report"
    """What to do: report, pull (from the web) or add (from a folder)."""
    data: str = "deepeval"
    """Whose pictures: deepeval, a folder of a set, or a file of annotations with addresses."""
    folder: str | None = None
    """Where the pictures and their manifest lie; by default the user's cache folder, or the set's own folder."""
    source: str | None = None
    """For add: the folder of picture files, each named after its image_id."""
    accept_terms: bool = False
    """For pull: you have the right to fetch these pictures, which belong to third parties."""
    repin: bool = False
    """Accept pictures whose bytes are not those of the first pull."""
    recheck: bool = False
    """For pull: fetch also what is there already, to see which links still live."""
    limit: int | None = Field(default=None, ge=1)
    """For pull: the first pictures only."""
    pause_s: float = Field(default=0.5, ge=0)
    """For pull: seconds between two requests to one host."""
    timeout_s: float = Field(default=20, gt=0)
    """For pull: most seconds for one picture."""
    most_bytes: int = Field(default=20_000_000, ge=1)
    """For pull: larger files are refused."""
    licence_note: str = THIRD_PARTY
    """For add: under which terms you have the files."""


def images(config: ImagesConfig, run: Run, *, allows: Callable[[str], bool] = is_public) -> Metrics:
    """Does what `action` says; one row per picture that was fetched or added. `allows` decides on IP addresses.

    Raises:
        UserError: pull without accept_terms, add without source, or no addresses.
    """
    manifest = Manifest(_folder(config))
    addresses = {image_id: note.image for image_id, note in load_annotations(config.data).items() if note.image}
    if config.action == "pull":
        _pull(config, run, manifest, _web(addresses), allows)
    elif config.action == "add":
        _add(config, run, manifest, set(load_annotations(config.data)))
    return _metrics(config, manifest, set(load_annotations(config.data)))


def _folder(config: ImagesConfig) -> Path:
    if config.folder:
        return Path(config.folder)
    own = Path(config.data)
    return own if own.is_dir() and (own / "items.jsonl").is_file() else picture_folder()


def _web(addresses: Mapping[str, str]) -> dict[str, str]:
    found = {image_id: url for image_id, url in addresses.items() if url.startswith(("http://", "https://"))}
    if not found:
        raise UserError("these annotations hold no web addresses; give files with --action add --source FOLDER")
    return found


def _pull(
    config: ImagesConfig, run: Run, manifest: Manifest, urls: Mapping[str, str], allows: Callable[[str], bool]
) -> None:
    if not config.accept_terms:
        raise UserError(
            f"{len(urls)} pictures would be fetched from third parties, to whom they belong; if you have the right to do"
            " that, say so with --accept-terms; or give your own files with --action add --source FOLDER"
        )
    chosen = {image_id: url for image_id, url in list(urls.items())[: config.limit] if image_id not in run.rows}
    todo = needing(manifest, chosen, recheck=config.recheck)
    fetcher = Fetcher(config.timeout_s, config.most_bytes, allows=allows)
    entries = pull(manifest, todo, fetcher.fetch, pause_s=config.pause_s, repin=config.repin)
    for entry in _tracked(entries, len(todo)):
        _note(run, entry)


def _tracked(entries: Iterable[Entry], total: int) -> Iterable[Entry]:
    """The entries behind a progress bar, which needs to know how many there will be."""
    return (entry for _, entry in zip(track(range(total), "pictures"), entries, strict=True))


def _add(config: ImagesConfig, run: Run, manifest: Manifest, known: set[str]) -> None:
    source = Path(config.source) if config.source else None
    if source is None or not source.is_dir():
        raise UserError(f"source is {config.source!r}; give a folder of picture files, each named after its image_id")
    files = sorted(path for path in source.iterdir() if path.is_file() and path.stem in known)
    if not files:
        raise UserError(f"no file in {source} is named after a picture of {config.data!r}, such as {min(known)}.png")
    for path in track(files, "pictures"):
        before = manifest.entries.get(path.stem)
        url = before.url if before else ""
        entry = manifest.accept(path.stem, url, path.read_bytes(), repin=config.repin, licence_note=config.licence_note)
        if path.stem not in run.rows:
            _note(run, entry)
    manifest.compact()


def _note(run: Run, entry: Entry) -> None:
    run.add(entry.image_id, {"status": entry.status, "sha256": entry.sha256, "reason": entry.reason})


def _metrics(config: ImagesConfig, manifest: Manifest, known: set[str]) -> Metrics:
    entries = [entry for entry in manifest.entries.values() if entry.image_id in known]
    usable = sum(entry.status != "changed" and manifest.kept(entry.image_id) is not None for entry in entries)
    return {
        "action": config.action,
        "pictures": len(known),
        "usable": usable,
        "never_tried": len(known) - len(entries),
        "status": dict(sorted(Counter(entry.status for entry in entries).items())),
        "hosts": rot_report(entries),
        "reasons": dict(Counter(entry.reason for entry in entries if entry.reason).most_common(10)),
    }


def summary(metrics: Metrics) -> str:
    """How many pictures can be used, and the state of the links by host."""
    lines = [f"{metrics['usable']} of {metrics['pictures']} pictures can be used; {metrics['never_tried']} were never tried"]
    lines += [f"{host:<32} {_states(statuses)}" for host, statuses in list(metrics["hosts"].items())[:20]]
    if not metrics["usable"]:
        lines.append(
            "without pictures the text arms still run; `images --action pull --accept-terms` fetches, `add` takes files"
        )
    return "\n".join(lines)


def _states(statuses: Mapping[str, Any]) -> str:
    return ", ".join(f"{status} {number}" for status, number in statuses.items())
