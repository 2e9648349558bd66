"""The verb `explain`: the explanation of one text of a run, as HTML and JSON."""

import json
from pathlib import Path

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.core.records import Metrics
from tenfold.store import atomic, runs
from tenfold.store.runs import Run
from tenfold.systems.slotsum.explain import explain as explain_row


class ExplainConfig(Config):
    """Show where each fact of a text comes from, and what was changed."""

    run: str
    """A run of `slotsum run`: its folder, or the beginning of its name."""
    key: str = ""
    """Which of its texts; the first if left out."""
    to: str = ""
    """Where to write the page; the JSON lies beside it. Else into this run's folder."""


def explain(config: ExplainConfig, run: Run) -> Metrics:
    """Writes the page and its JSON twin.

    Raises:
        MissingArtifactError: no such run.
        ConfigError: it holds no texts.
        UnknownNameError: it has no text of that key.
    """
    rows = {row["key"]: row for row in runs.read_rows(runs.find(run.folder.parent.parent, config.run))}
    rows = {key: row for key, row in rows.items() if "slots" in row and "text" in row and "documents" in row}
    if not rows:
        raise ConfigError(f"{config.run} holds no grounded texts; give a run of slotsum run")
    key = config.key or next(iter(rows))
    if key not in rows:
        raise UnknownNameError("text", key, rows)
    page = Path(config.to) if config.to else run.folder / "explanation.html"
    atomic.write_text(page, explain_row(rows[key]))
    atomic.write_text(page.with_suffix(".json"), json.dumps(rows[key], ensure_ascii=False, indent=2) + "\n")
    return {"text": key, "title": rows[key]["title"], "slots": len(rows[key]["slots"]), "page": page.name}


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    return f"{metrics['title']}: {metrics['slots']} slots explained in {metrics['page']}"
