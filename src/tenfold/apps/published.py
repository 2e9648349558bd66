"""Published numbers: one small JSON per result in results/, and the tables of the READMEs made from them.

A result holds what was run, on what, and what came out, so that anyone can repeat it. READMEs carry marked places,
`<!-- results:NAME -->` to `<!-- /results -->` for one result and `<!-- results -->` for a line on each; what stands between
them is written here and never by hand.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenfold.apps import wiring
from tenfold.core.config import read_toml
from tenfold.core.errors import MissingArtifactError, UserError
from tenfold.store import atomic, runs
from tenfold.store.artifacts import data_name

RESULTS = Path("results")
PLACE = re.compile(r"(<!-- results:(?P<name>[\w-]+) -->\n).*?(<!-- /results -->)", re.DOTALL)
INTERVAL = re.compile(r"95 ?%")
OVERVIEW = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)


def publish(folder: Path, name: str, *, results: Path = RESULTS) -> Path:
    """Writes a complete run's settings, environment and metrics to results/NAME.json.

    Raises:
        UserError: the run is unfinished.
    """
    metrics = runs.read_metrics(folder)
    if metrics is None:
        raise UserError(f"the run {folder} is not finished; only complete runs are published")
    record = {
        "name": name,
        "verb": folder.parent.name.replace("-", ".", 1),
        "date": folder.name[:8],
        "config": portable(read_toml(folder / "config.toml")),
        "environment": runs.read_environment(folder),
        "metrics": portable(metrics),
    }
    target = results / f"{name}.json"
    atomic.write_json(target, record)
    return target


def portable(value: Any) -> Any:
    """The same JSON value without this machine's folders: an absolute path becomes its data set's name, or its last part."""
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    return data_name(Path(value)) if isinstance(value, str) and Path(value).is_absolute() else value


def refresh(pages: Sequence[Path], *, name: str | None = None, results: Path = RESULTS) -> list[Path]:
    """Rewrites the marked places of the given Markdown files, of single results only those of `name` if one is given.

    Returns the files that changed.

    Raises:
        MissingArtifactError: a place to be rewritten has no result.
    """

    def fill(match: re.Match[str]) -> str:
        wanted = name in (None, match["name"])
        return match[1] + _section(results / f"{match['name']}.json") + match[3] if wanted else match[0]

    changed = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fresh = OVERVIEW.sub(lambda match: match[1] + _overview(results) + match[2], PLACE.sub(fill, text))
        if fresh != text:
            atomic.write_text(page, fresh)
            changed.append(page)
    return changed


def markdown_pages(root: Path) -> list[Path]:
    """The Markdown files of a checkout that may hold marked places."""
    return [
        *sorted(root.glob("*.md")),
        *sorted(root.glob("docs/**/*.md")),
        *sorted(root.glob("src/tenfold/systems/*/README.md")),
    ]


def _overview(results: Path) -> str:
    """A table with the first line of every result's summary that tells a number."""
    lines = ["| result | what came out | when, on what |", "|---|---|---|"]
    for path in sorted(results.glob("*.json"), key=lambda path: path.stem):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "verb" in record:
            command, page = _command_and_page(record["verb"])
            headline = _headline(wiring.verb(record["verb"]).summary(record["metrics"]))
            machine = f"{_date(record)}, {record['environment']['processor']}, {record['environment']['cores']} cores"
            lines.append(f"| [`{command}`]({page}) ({path.stem}) | {headline} | {machine} |")
    return "\n".join([*lines, ""])


def _headline(summary: str) -> str:
    lines = [" ".join(line.split()).replace("|", "/") for line in summary.splitlines()]
    return next((line for line in lines if any(letter.isdigit() for letter in INTERVAL.sub("", line))), lines[0])


def _command_and_page(name: str) -> tuple[str, str]:
    """How a verb is called, and the page that tells about it."""
    system, _, verb = name.partition(".")
    if name in wiring.OWN_VERBS:
        return verb, wiring.OWN_VERBS[name].page
    return f"{system} {verb}", f"src/tenfold/systems/{system}/README.md"


def _section(path: Path) -> str:
    if not path.is_file():
        raise MissingArtifactError(f"no result {str(path)!r}; publish a run under that name first, with `tenfold publish`")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    command, _ = _command_and_page(record["verb"])
    settings = " ".join(f"{key}={_plain(value)}" for key, value in record["config"].items())
    environment = record["environment"]
    torch = environment["packages"]["torch"]
    machine = f"{environment['processor']}, {environment['cores']} cores; torch {torch}; {_date(record)}"
    summary = wiring.verb(record["verb"]).summary(record["metrics"])
    return f"`tenfold {command}` with {settings}\n({machine}, commit {environment['commit']})\n\n```\n{summary}\n```\n"


def _date(record: dict[str, Any]) -> str:
    return f"{record['date'][:4]}-{record['date'][4:6]}-{record['date'][6:]}"


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
