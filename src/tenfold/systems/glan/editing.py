"""A taxonomy with one node more or less. All other disciplines stay as they are, and with them all that was made of them."""

from collections.abc import Sequence

from tenfold.core.errors import ConfigError
from tenfold.systems.glan.tree import Discipline

FORM = '"Field > Branch > Discipline: topic; topic"'


def added(disciplines: Sequence[Discipline], node: str) -> tuple[Discipline, ...]:
    """With a discipline at the end of its branch, or of the taxonomy where the branch is new.

    Raises:
        ConfigError: the node is not written as three names, or is there already.
    """
    path, _, topics = node.partition(":")
    parts = [part.strip() for part in path.split(">")]
    if len(parts) != 3 or not all(parts):
        raise ConfigError(f"node is {node!r}; write it as {FORM}")
    field, branch, name = parts
    kind = next((d.kind for d in disciplines if d.field == field), "")
    new = Discipline(field, branch, name, tuple(t.strip() for t in topics.split(";") if t.strip()), kind)
    if any(discipline.path == new.path for discipline in disciplines):
        raise ConfigError(f"the taxonomy has {new.path!r} already; give the new one another name")
    siblings = [place for place, d in enumerate(disciplines) if (d.field, d.branch) == (field, branch)]
    cousins = [place for place, d in enumerate(disciplines) if d.field == field]
    at = max(siblings or cousins or [len(disciplines) - 1]) + 1
    return (*disciplines[:at], new, *disciplines[at:])


def removed(disciplines: Sequence[Discipline], node: str) -> tuple[Discipline, ...]:
    """Without the node of this path, or of this name where it is the only one, and without what is under it.

    Raises:
        ConfigError: there is no such node, several have the name, or nothing would be left.
    """
    wanted = " > ".join(part.strip() for part in node.split(">"))
    paths = {
        path
        for d in disciplines
        for path in (d.field, f"{d.field} > {d.branch}", d.path)
        if wanted in (path, path.rpartition(" > ")[2])
    }
    if len(paths) != 1:
        found = f"{len(paths)} nodes are called" if paths else "the taxonomy has no node"
        raise ConfigError(f"{found} {node!r}; give the path of one, as Field > Branch > Discipline")
    (gone,) = paths
    left = tuple(d for d in disciplines if not f"{d.path} > ".startswith(f"{gone} > "))
    if not left:
        raise ConfigError(f"without {gone!r} nothing is left; a taxonomy needs at least one discipline")
    return left
