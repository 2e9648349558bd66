"""The verb `view`: a data set as a folder of static pages, to be opened from disk; nothing is sent anywhere.

`index.html` shows the tree, coloured by the share of key concepts in use, tells how diverse the questions are, and searches.
Each discipline's pairs lie in a script of their own (`d000.js`), because a page that is opened from disk cannot read JSON.
All text of the teacher is shown as text, never as markup.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from pydantic import Field

from tenfold.core import jsonl
from tenfold.core.config import Config
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.store import atomic, runs
from tenfold.store.runs import Run
from tenfold.systems.glan.grams import gram_hashes, word_hashes, words_of
from tenfold.systems.glan.pair_files import read_pairs

UNSAFE = ("<", ">", "&", "\u2028", "\u2029")
"""Characters that could end a script or a line of it; JSON may write them as numbers."""
RUN = 3
"""Words of a run; the share of different ones among a discipline's questions tells how much they repeat each other."""
Card = dict[str, Any]
"""What the index knows of a discipline."""


class ViewConfig(Config):
    """Show a data set as static pages, with its coverage, search, and what the gates stopped."""

    run_of: str
    """A run of `generate`: its folder, or the beginning of its name."""
    out: Path | None = None
    """Folder to write into; by default `view/` in the run directory."""
    most: int = Field(2_000, ge=1)
    """Most pairs of a discipline that are shown; the counts are always of all."""


def view(config: ViewConfig, run: Run) -> Metrics:
    """Writes the pages.

    Raises:
        MissingArtifactError: there is no such run.
        UserError: the run holds no pairs.
    """
    source = runs.find(run.folder.parent.parent, config.run_of)
    if not (source / "pairs.jsonl").is_file():
        raise UserError(f"{source} holds no pairs.jsonl; give a finished run of `tenfold glan generate`")
    folder = config.out or run.folder / "view"
    folder.mkdir(parents=True, exist_ok=True)
    reasons = {row["id"]: [row["gate"], row["detail"]] for row in jsonl.read(source / "rejected.jsonl")}
    coverage = {row["key"]: row for row in runs.read_rows(source)}
    cards = list(_write_disciplines(source / "pairs.jsonl", folder, reasons, coverage, config.most))
    if not cards:
        raise UserError(f"{source} has made no pair; nothing can be shown")
    page = folder / "index.html"
    atomic.write_text(page, _index(cards, runs.read_metrics(source) or {}, source.name))
    return {
        "pairs": sum(card["pairs"] for card in cards),
        "rejected": len(reasons),
        "disciplines": len(cards),
        "page": str(page),
    }


def _write_disciplines(
    pairs: Path, folder: Path, reasons: Mapping[str, Any], coverage: Mapping[str, Any], most: int
) -> Iterator[Card]:
    """One script for each discipline; pairs come in the tree's order, so each is held in memory alone."""
    paths = (f"{pair.field} > {pair.branch} > {pair.discipline}" for pair in read_pairs(pairs))
    together = zip(paths, read_pairs(pairs), strict=True)
    for number, (path, some) in enumerate(groupby(together, key=lambda each: each[0])):
        rows, counts, levels, distinct = [], Counter[str](), Counter[str](), set[int]()
        for _, pair in some:
            counts["pairs"] += 1
            counts["accepted"] += pair.id not in reasons
            levels[pair.level or "unstated"] += 1
            runs_of_words = gram_hashes(word_hashes(words_of(pair.instruction)), RUN).tolist()
            distinct.update(runs_of_words)
            counts["runs"] += len(runs_of_words)
            if len(rows) < most:
                rows.append(pair.row | {"gate": reasons.get(pair.id)})
        file = f"d{number:03d}.js"
        atomic.write_text(folder / file, f"receive({number}, {_script_safe(rows)});\n")
        diversity = len(distinct) / counts["runs"] if counts["runs"] else None
        yield _card(path, file, counts, levels, coverage.get(path, {})) | {"diversity": diversity}


def _card(path: str, file: str, counts: Counter[str], levels: Counter[str], tally: Mapping[str, Any]) -> Card:
    known = tally.get("concepts") or 0
    return {
        "path": path,
        "file": file,
        "pairs": counts["pairs"],
        "accepted": counts["accepted"],
        "levels": dict(sorted(levels.items())),
        "coverage": tally["concepts_used"] / known if known else None,
    }


def _script_safe(value: Any) -> str:
    """JSON that cannot close the script that it stands in."""
    text = json.dumps(value, ensure_ascii=False)
    for mark in UNSAFE:
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _index(cards: Iterable[Card], metrics: Metrics, name: str) -> str:
    branches: dict[str, list[tuple[int, Card]]] = defaultdict(list)
    for number, card in enumerate(cards):
        branches[card["path"].rpartition(" > ")[0]].append((number, card))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("pages")), autoescape=select_autoescape(default=True)
    )
    return environment.get_template("index.html.j2").render(branches=branches, metrics=metrics, name=name)


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    counts = f"{metrics['pairs']} pairs of {metrics['disciplines']} disciplines, {metrics['rejected']} rejected"
    return f"{counts}: open {metrics['page']}"
