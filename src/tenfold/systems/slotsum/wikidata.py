"""A Wikidata JSON dump as a knowledge base in one SQLite file, made in one pass over the dump in bounded memory.

A dump is one entity a line (`[`, `{...},`, ..., `]`), plain, .gz or .bz2. Lines that are no entity, and a dump that
ends in the middle, are reported and cost nothing else. An index that was cut off goes on from its last commit.
"""

import bz2
import gzip
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.systems.slotsum.knowledge import Fact, Rank, Statement, label_of
from tenfold.systems.slotsum.snaks import read_value
from tenfold.systems.slotsum.tokens import fold

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entity (id TEXT PRIMARY KEY, kind TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS label (entity TEXT, lang TEXT, text TEXT, folded TEXT);
CREATE TABLE IF NOT EXISTS alias (entity TEXT, lang TEXT, text TEXT, folded TEXT);
CREATE TABLE IF NOT EXISTS sitelink (entity TEXT, site TEXT, title TEXT, folded TEXT);
CREATE TABLE IF NOT EXISTS statement (
    entity TEXT, property TEXT, place INTEGER, id TEXT, rank TEXT, snak TEXT, text TEXT, item TEXT, qualifiers TEXT);
"""
INDEXES = """
CREATE INDEX IF NOT EXISTS label_by_text ON label (folded);
CREATE INDEX IF NOT EXISTS label_by_entity ON label (entity);
CREATE INDEX IF NOT EXISTS alias_by_text ON alias (folded);
CREATE INDEX IF NOT EXISTS alias_by_entity ON alias (entity);
CREATE INDEX IF NOT EXISTS sitelink_by_title ON sitelink (folded);
CREATE INDEX IF NOT EXISTS statement_by_entity ON statement (entity);
"""
ENTITIES_PER_COMMIT = 5000
EXAMPLES = 10
END_TIME = "P582"
FALLBACK = {"zh": ("zh-hans", "zh-cn", "zh", "zh-hant", "en"), "en": ("en", "en-gb", "mul")}
PROPERTIES = {
    "P569": "date of birth", "P570": "date of death", "P19": "place of birth", "P20": "place of death",
    "P27": "country of citizenship", "P106": "occupation", "P31": "instance of", "P17": "country", "P36": "capital",
    "P131": "located in", "P159": "headquarters location", "P112": "founded by", "P571": "inception", "P1082": "population",
    "P2048": "height", "P2067": "mass", "P26": "spouse", "P69": "educated at", "P166": "award received",
}  # fmt: skip
"""Labels of common properties, for dumps that hold items alone."""


@dataclass
class IndexReport:
    """What an indexing pass read: `broken` lines by number with the reason (the first few), and whether the end was
    missing."""

    lines: int = 0
    entities: int = 0
    statements: int = 0
    num_broken: int = 0
    repeated: int = 0
    truncated: bool = False
    broken: list[str] = field(default_factory=list)

    def note(self, reason: str) -> None:
        self.num_broken += 1
        if len(self.broken) < EXAMPLES:
            self.broken.append(f"line {self.lines}: {reason}")


def build_index(
    dump: Path, path: Path, *, languages: Sequence[str] = ("en", "zh"), on_progress: Callable[[int], None] = lambda _: None
) -> IndexReport:
    """Reads a dump into the SQLite file `path`; goes on where an earlier pass over the same dump was cut off.

    Labels and aliases are kept in the languages given and their fall-backs.

    Raises:
        MissingArtifactError: no such dump.
        ConfigError: the file belongs to another dump, or is no index.
    """
    if not dump.is_file():
        raise MissingArtifactError(f"no dump {str(dump)!r}; give a Wikidata JSON dump (.json, .json.gz, .json.bz2)")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _connect(path) as database:
        database.executescript(SCHEMA)
        report = _bind(database, dump)
        kept = {name for lang in languages for name in FALLBACK.get(lang, (lang,))}
        if _meta(database, "complete") != "yes":
            _read(database, dump, report, kept, on_progress)
    return report


def _bind(database: sqlite3.Connection, dump: Path) -> IndexReport:
    """The report so far of this very dump."""
    source = f"{dump.name} {dump.stat().st_size}"
    known = _meta(database, "source")
    if known is None:
        _put_meta(database, "source", source)
    elif known != source:
        raise ConfigError(f"the index was made of {known} bytes, not of {source} bytes; give another file for this dump")
    return IndexReport(**json.loads(_meta(database, "report") or "{}"))


def _read(
    database: sqlite3.Connection, dump: Path, report: IndexReport, kept: set[str], on_progress: Callable[[int], None]
) -> None:
    for number, line in enumerate(_lines(dump, report), start=1):
        if number <= report.lines:
            continue
        report.lines = number
        _add_line(database, line, report, kept)
        if report.lines % ENTITIES_PER_COMMIT == 0:
            _commit(database, report)
            on_progress(report.entities)
    database.executescript(INDEXES)
    _put_meta(database, "complete", "yes")
    _commit(database, report)
    on_progress(report.entities)


def _commit(database: sqlite3.Connection, report: IndexReport) -> None:
    _put_meta(database, "report", json.dumps(vars(report)))
    database.commit()


def _lines(dump: Path, report: IndexReport) -> Iterator[bytes]:
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}
    with openers.get(dump.suffix, Path.open)(dump, "rb") as file:
        yield from _until_broken(file, report)


def _until_broken(file: IO[bytes], report: IndexReport) -> Iterator[bytes]:
    """A compressed file that ends in the middle gives what it holds."""
    line = b""
    try:
        for line in file:
            yield line
    except (EOFError, zlib.error, OSError) as error:
        report.truncated = True
        report.note(f"the file ends in the middle ({error})")
        return
    report.truncated = bool(line.strip()) and not line.endswith(b"\n") and not line.rstrip().endswith((b"]", b"}"))


def _add_line(database: sqlite3.Connection, line: bytes, report: IndexReport, kept: set[str]) -> None:
    bare = line.strip().rstrip(b",").strip()
    if bare in (b"", b"[", b"]"):
        return
    try:
        entity = json.loads(bare)
        rows = _rows(entity, kept)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        report.note(f"{type(error).__name__}: {str(error)[:80]}")
        return
    if not database.execute("INSERT OR IGNORE INTO entity VALUES (?, ?)", (entity["id"], entity.get("type", ""))).rowcount:
        report.repeated += 1
        return
    report.entities += 1
    report.statements += len(rows["statement"])
    for table, values in rows.items():
        if values:
            places = ", ".join("?" * len(values[0]))
            database.executemany(f"INSERT INTO {table} VALUES ({places})", values)


def _rows(entity: Mapping[str, Any], kept: set[str]) -> dict[str, list[tuple[Any, ...]]]:
    """What one entity adds to each table. Empty maps may be written as `[]`."""
    name = entity["id"]
    labels = [(name, lang, one["value"], fold(one["value"])) for lang, one in _map(entity, "labels") if lang in kept]
    aliases = [
        (name, lang, one["value"], fold(one["value"]))
        for lang, several in _map(entity, "aliases")
        if lang in kept
        for one in several
    ]
    links = [(name, site, one["title"], fold(one["title"])) for site, one in _map(entity, "sitelinks")]
    return {"label": labels, "alias": aliases, "sitelink": links, "statement": list(statement_rows(entity))}


def _map(entity: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    found = entity.get(key) or {}
    return list(found.items()) if isinstance(found, Mapping) else []


def statement_rows(entity: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of table `statement` for one entity of a dump or of the web interface."""
    for name, claims in _map(entity, "claims"):
        for place, claim in enumerate(claims):
            snak = claim["mainsnak"]
            said = read_value(snak["datavalue"]) if snak.get("snaktype") == "value" and "datavalue" in snak else None
            qualifiers = json.dumps(_qualifiers(claim))
            text, item = (said.text, said.item) if said else ("", "")
            yield entity["id"], name, place, claim.get("id", ""), claim["rank"], snak["snaktype"], text, item, qualifiers


def _qualifiers(claim: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, snaks in _map(claim, "qualifiers"):
        said = [read_value(snak["datavalue"]) for snak in snaks if "datavalue" in snak]
        found[name] = [one.text or one.item for one in said if one] or [""]
    return found


class WikidataIndex:
    """The knowledge base of an index that `build_index` made."""

    def __init__(self, path: Path) -> None:
        """Opens the file for reading.

        Raises:
            MissingArtifactError: no such file.
            ConfigError: it is no index, or one that was cut off.
        """
        if not path.is_file():
            raise MissingArtifactError(
                f"no index {str(path)!r}; make one with: tenfold slotsum index --dump DUMP --to {path}"
            )
        self._database = _connect(path, readonly=True)
        if _meta(self._database, "complete") != "yes":
            raise ConfigError(f"{path.name} is no finished index; make or finish it with: tenfold slotsum index")

    def lookup(self, title: str, lang: str = "en") -> list[str]:
        """By label, else by the title of an article, else by alias; all entities of the first that finds any."""
        folded = fold(title.replace("_", " "))
        for query in (
            "SELECT DISTINCT entity FROM label WHERE folded = ?",
            "SELECT DISTINCT entity FROM sitelink WHERE folded = ?",
            "SELECT DISTINCT entity FROM alias WHERE folded = ?",
        ):
            found = [entity for (entity,) in self._database.execute(query, (folded,))]
            if found:
                return sorted(found)
        return []

    def facts(self, entity: str, lang: str = "en") -> list[Fact]:
        rows = self._database.execute(
            "SELECT property, id, rank, text, item, qualifiers FROM statement "
            "WHERE entity = ? AND snak = 'value' ORDER BY rowid",
            (entity,),
        ).fetchall()
        return facts_of(rows, lambda item: self.label(item, lang), lambda item: self.aliases(item, lang))

    def label(self, entity: str, lang: str = "en") -> str:
        """The label in a language or its nearest fall-back; the entity's id if it has none."""
        rows = self._database.execute("SELECT lang, text FROM label WHERE entity = ?", (entity,))
        found: dict[str, str] = dict(rows.fetchall())
        order = [*FALLBACK.get(lang, (lang,)), "en", *found]
        return next((found[name] for name in order if name in found), PROPERTIES.get(entity, entity))

    def aliases(self, entity: str, lang: str = "en") -> tuple[str, ...]:
        rows = self._database.execute("SELECT text FROM alias WHERE entity = ?", (entity,))
        return tuple(text for (text,) in rows)


def facts_of(
    rows: Sequence[tuple[Any, ...]], label: Callable[[str], str], aliases: Callable[[str], tuple[str, ...]]
) -> list[Fact]:
    """Facts from (property, id, rank, text, item, qualifiers) rows, in order."""
    found: dict[str, list[Statement]] = {}
    for name, number, rank, text, item, qualifiers in rows:
        said = json.loads(qualifiers)
        value, others = (label(item), aliases(item)) if item else (text, ())
        if value:
            rank_: Rank = rank
            statement = Statement(value, rank_, number, others, END_TIME in said, said)
            found.setdefault(name, []).append(statement)
    return [Fact(name, label_of(label(name)), tuple(values)) for name, values in found.items()]


def _connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro" if readonly else path, uri=readonly, timeout=60.0)
        database.execute("PRAGMA journal_mode" if readonly else "PRAGMA journal_mode=WAL").fetchone()
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA cache_size=-65536")
    except sqlite3.DatabaseError:
        raise ConfigError(f"{path.name} is no SQLite file; give an index, or a new name to make one") from None
    return database


def _meta(database: sqlite3.Connection, name: str) -> str | None:
    try:
        row = database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    except sqlite3.OperationalError:
        return None
    return row[0] if row else None


def _put_meta(database: sqlite3.Connection, name: str, value: str) -> None:
    database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
