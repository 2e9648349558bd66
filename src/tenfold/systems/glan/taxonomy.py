"""Taxonomies: the bundled one, or the user's own file; read, checked, cut down to some disciplines, counted.

The bundled tree was written for this project; `core126` is a part of it, as large as the paper's tree. Disciplines may be
chosen by the names that the paper gives them, too (aliases.toml). A file of one's own is TOML in the same form:

    [[field]]
    name = "..."
    kind = "academic"
    [field.branches]
    "Branch" = ["Discipline: topic; topic", "Discipline"]
"""

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tenfold.core.config import read_toml
from tenfold.core.errors import ConfigError, UserError
from tenfold.systems.glan.tree import Discipline

BUNDLED = "bundled"
CORE = "core126"
EVERY = "all"


def load_taxonomy(name: str = BUNDLED) -> tuple[Discipline, ...]:
    """The disciplines of the bundled taxonomy, of its core of 126, or of a TOML file, in the order of the file.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: it is empty, of another form, or names the same discipline twice in one branch.
    """
    if name == CORE:
        core = set(read_toml(_own("core126.toml"))["disciplines"])
        return tuple(discipline for discipline in load_taxonomy(BUNDLED) if discipline.name in core)
    path = _own("taxonomy.toml") if name == BUNDLED else Path(name)
    return read_disciplines(read_toml(path), where=path.name)


@cache
def aliases() -> dict[str, frozenset[str]]:
    """Other names, in small letters, with the bundled disciplines that are about the same."""
    table = read_toml(_own("aliases.toml"))["aliases"]
    return {alias.lower(): frozenset(name.lower() for name in names) for alias, names in table.items()}


def _own(file: str) -> Path:
    return Path(str(files("tenfold.systems.glan") / file))


def read_disciplines(table: dict[str, Any], *, where: str) -> tuple[Discipline, ...]:
    """Disciplines of a table as TOML gives it; raises as `load_taxonomy`."""
    try:
        found = tuple(
            _discipline(str(field["name"]), branch, entry, str(field.get("kind", "")))
            for field in table["field"]
            for branch, entries in field["branches"].items()
            for entry in _checked_list(entries)
        )
    except (KeyError, TypeError, AttributeError):
        form = '[[field]] with name and [field.branches] of "Branch" = ["Discipline: topic; topic"]'
        raise ConfigError(f"{where} is not a taxonomy; we accept {form}") from None
    twins = [path for path, number in Counter(discipline.path for discipline in found).items() if number > 1]
    if twins or not found or not all(discipline.name for discipline in found):
        problem = f"names {twins[0]!r} twice" if twins else "has no discipline, or one without a name"
        raise ConfigError(f"{where} {problem}; give each discipline of a branch a name of its own")
    return found


def _checked_list(entries: Any) -> list[Any]:
    if not isinstance(entries, list):
        raise TypeError(entries)
    return entries


def _discipline(field: str, branch: str, entry: str, kind: str) -> Discipline:
    name, _, topics = entry.partition(":")
    scope = tuple(topic.strip() for topic in topics.split(";") if topic.strip())
    return Discipline(field, branch, name.strip(), scope, kind)


def choose(disciplines: Sequence[Discipline], names: Sequence[str]) -> tuple[Discipline, ...]:
    """The disciplines, branches or fields of these names, in the taxonomy's order; all of them for `all`.

    A name that the taxonomy does not have may be an alias of some that it has.

    Raises:
        UserError: a name that is none of them, with the nearest ones.
    """
    known = {label.lower() for d in disciplines for label in (d.field, d.branch, d.name)}
    wanted = {name.lower() for name in names}
    for name in names:
        meant = aliases().get(name.lower(), frozenset()) & known
        if name.lower() not in known | {EVERY}:
            wanted |= meant
        if name.lower() not in known | {EVERY} and not meant:
            near = get_close_matches(name.lower(), known, n=3, cutoff=0.4) or sorted(known)[:3]
            raise UserError(f"the taxonomy has no {name!r}; the nearest are {', '.join(map(repr, near))}")
    return tuple(d for d in disciplines if EVERY in wanted or wanted & {d.field.lower(), d.branch.lower(), d.name.lower()})
