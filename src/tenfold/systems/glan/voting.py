"""Votes on a taxonomy: a form for each annotator, and the tree that a majority keeps.

A removed node takes its descendants with it; a tie keeps. A vote is a JSON file {"annotator", "remove": [path, ...]}, as
the form saves it; what an annotator does not remove, that person keeps (2402.13064, section 2.1).
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
from jinja2 import Environment, FileSystemLoader, select_autoescape

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.systems.glan.tree import Discipline


def nodes_of(disciplines: Sequence[Discipline]) -> dict[str, int]:
    """Every node's path with its depth (0 a field, 1 a branch, 2 a discipline), in the tree's order."""
    found: dict[str, int] = {}
    for discipline in disciplines:
        for depth, path in enumerate((discipline.field, f"{discipline.field} > {discipline.branch}", discipline.path)):
            found.setdefault(path, depth)
    return found


def sheet(disciplines: Sequence[Discipline]) -> str:
    """The form as one HTML page; it saves a file and sends nothing."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("pages")), autoescape=select_autoescape(default=True)
    )
    nodes = [(path, depth, path.rpartition(" > ")[2]) for path, depth in nodes_of(disciplines).items()]
    return environment.get_template("votes.html.j2").render(nodes=nodes)


def read_votes(paths: Sequence[Path]) -> dict[str, frozenset[str]]:
    """Annotator -> the paths to remove.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a file is no vote, or two are by one annotator.
    """
    votes: dict[str, frozenset[str]] = {}
    for path in paths:
        annotator, removed = _read_vote(path)
        if annotator in votes:
            raise ConfigError(f"{path} is a second vote of {annotator!r}; give one file for each annotator")
        votes[annotator] = removed
    return votes


def _read_vote(path: Path) -> tuple[str, frozenset[str]]:
    if not path.is_file():
        raise MissingArtifactError(f"no vote {str(path)!r}; give the files that the form saved")
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))
        return str(table["annotator"]), frozenset(map(str, table["remove"]))
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f'{path} is no vote; we accept {{"annotator": NAME, "remove": [path, ...]}}') from None


def tally(
    disciplines: Sequence[Discipline], votes: dict[str, frozenset[str]]
) -> tuple[tuple[Discipline, ...], dict[str, int]]:
    """The disciplines that are kept, and how many voted against each node that anybody voted against.

    Raises:
        ConfigError: a vote names a node that is not in the taxonomy, or nothing would be left.
    """
    known = nodes_of(disciplines)
    strange = [path for removed in votes.values() for path in sorted(removed) if path not in known]
    if strange:
        raise ConfigError(f"a vote names {strange[0]!r}, which is not in this taxonomy; tally the one that was voted on")
    against = Counter(path for removed in votes.values() for path in removed)
    gone = {path for path, number in against.items() if 2 * number > len(votes)}
    kept = tuple(d for d in disciplines if not gone & {d.field, f"{d.field} > {d.branch}", d.path})
    if not kept:
        raise ConfigError("the votes remove everything; a taxonomy needs at least one discipline")
    return kept, {path: against[path] for path in known if path in against}


def as_toml(disciplines: Sequence[Discipline]) -> str:
    """A taxonomy in the form that `load_taxonomy` reads."""
    fields: dict[str, dict[str, Any]] = {}
    for discipline in disciplines:
        field = fields.setdefault(discipline.field, {"name": discipline.field, "kind": discipline.kind, "branches": {}})
        scope = f": {'; '.join(discipline.scope)}" if discipline.scope else ""
        field["branches"].setdefault(discipline.branch, []).append(f"{discipline.name}{scope}")
    return tomli_w.dumps({"field": list(fields.values())}, multiline_strings=False)
