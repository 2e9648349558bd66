"""The work ledger: what has been asked and what came of it, in one SQLite file that survives kill -9.

A unit of work is named by its key, the digest of everything on which its result depends (`work_key`); so the same work is
never done twice, and work whose parents have not changed is found again. A result is JSON, stored as canonical bytes.

    done     has a result; never changes again
    dropped  was given up for good, with a reason; never changes again
    failed   the apparatus failed, with a reason; a later run may replace it by done or dropped, or by a newer reason

Beside the work lie claims: what a piece of work may cost, noted before it is begun and settled when the cost is known. Those
of a killed process stay, because what it had begun may have been paid. Claims are no part of the content (`digest`).

What was put is on disk before `put` returns (WAL; a power cut may take the last moments, a kill takes nothing). Several
processes may use one file. Iteration goes by (kind, key), in pages, so memory does not grow with the number of rows.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from filelock import FileLock, Timeout

from tenfold.core.config import canonical_json
from tenfold.core.errors import ConfigError, MissingArtifactError, UserError

Status = Literal["done", "dropped", "failed"]
RANKS: dict[Status, int] = {"failed": 0, "dropped": 1, "done": 2}
"""What two ledgers that know different things about one key agree on when they are merged: the higher one."""

SCHEMA = 1
PAGE = 1000
"""Rows read at a time; between two pages no lock is held."""

TABLE = """
CREATE TABLE IF NOT EXISTS work (
    kind TEXT NOT NULL, key TEXT NOT NULL, rank INTEGER NOT NULL, reason TEXT NOT NULL, result BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID
"""
CLAIMS = "CREATE TABLE IF NOT EXISTS claim (id TEXT PRIMARY KEY, cost BLOB NOT NULL) WITHOUT ROWID"
PUT = """
INSERT INTO work VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, key) DO
UPDATE SET rank = excluded.rank, reason = excluded.reason, result = excluded.result WHERE work.rank = 0
"""
MERGE = """
INSERT INTO work VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, key) DO
UPDATE SET rank = excluded.rank, reason = excluded.reason, result = excluded.result
WHERE excluded.rank > work.rank OR excluded.rank = work.rank
  AND (excluded.reason, excluded.result) < (work.reason, work.result)
"""
NAMES: dict[int, Status] = {rank: status for status, rank in RANKS.items()}


@dataclass(frozen=True)
class Entry:
    """What the ledger knows about one unit of work."""

    kind: str
    key: str
    status: Status
    reason: str
    """Why it failed or was dropped; empty for what is done."""
    data: bytes
    """The result as canonical JSON; `null` where there is none."""

    @property
    def result(self) -> Any:
        """The result as plain values."""
        return json.loads(self.data)


def work_key(**parts: Any) -> str:
    """64 hexadecimal digits that name a unit of work by what it depends on: prompt, teacher, parents, seed, draw."""
    return hashlib.sha256(canonical_json(parts).encode(errors="surrogatepass")).hexdigest()


class Ledger:
    """An open ledger; a context manager. The file is made where there is none."""

    def __init__(self, path: Path, *, synchronous: Literal["normal", "full"] = "normal") -> None:
        """Opens the file; with `full`, what was put survives a power cut too, at the price of a wait for the disk.

        Raises:
            ConfigError: the file is no ledger, or was written by a newer version.
        """
        self.path, self.synchronous = path, synchronous
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None, timeout=60.0)
        try:
            with FileLock(f"{path}.lock"):
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; everything is in it already."""
        self._database.close()

    def put(self, kind: str, key: str, result: Any) -> Entry:
        """Files a result; changes nothing where the work is done or dropped. Returns what the ledger holds then."""
        return self._put(kind, key, "done", "", result)

    def fail(self, kind: str, key: str, reason: str, result: Any = None) -> Entry:
        """Notes a failure of the apparatus, which a later result will replace."""
        return self._put(kind, key, "failed", reason, result)

    def drop(self, kind: str, key: str, reason: str, result: Any = None) -> Entry:
        """Gives the work up for good."""
        return self._put(kind, key, "dropped", reason, result)

    def get(self, kind: str, key: str) -> Entry | None:
        """What is known about a unit of work, or None."""
        found = self._database.execute("SELECT * FROM work WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return None if found is None else _entry(found)

    def entries(self, kind: str | None = None) -> Iterator[Entry]:
        """All entries, or those of a kind, by (kind, key); those that are put meanwhile may be seen or not."""
        last = ("" if kind is None else kind, "")
        while page := self._page(last, kind):
            yield from map(_entry, page)
            last = page[-1][:2]

    def counts(self) -> dict[str, dict[Status, int]]:
        """Number of entries by kind and status."""
        table: dict[str, dict[Status, int]] = {}
        for kind, rank, count in self._database.execute("SELECT kind, rank, count(*) FROM work GROUP BY kind, rank"):
            table.setdefault(kind, dict.fromkeys(RANKS, 0))[NAMES[rank]] = count
        return table

    def digest(self) -> str:
        """Names the content: equal for two ledgers that know the same, however they came to know it."""
        digest = hashlib.sha256()
        for entry in self.entries():
            fields = (entry.kind, entry.key, entry.status, entry.reason, hashlib.sha256(entry.data).hexdigest())
            digest.update(canonical_json(fields).encode(errors="surrogatepass"))
        return digest.hexdigest()

    def merge(self, entries: Iterable[Entry]) -> None:
        """Takes in what another ledger knows (`other.entries()`).

        Where both know something, the higher status counts, done above dropped above failed; between two of one status
        the smaller bytes. So the outcome does not depend on the order of merging.
        """
        batch: list[tuple[Any, ...]] = []
        for entry in entries:
            batch.append(_row(entry))
            if len(batch) == PAGE:
                self._write(batch)
                batch = []
        self._write(batch)

    def claim(self, cost: Any) -> str:
        """Notes what work that is about to begin may cost; returns the claim's id."""
        name = uuid4().hex
        self._database.execute("INSERT INTO claim VALUES (?, ?)", (name, _bytes(cost)))
        return name

    def settle(self, name: str) -> None:
        """The cost is known, or there was none: forgets a claim."""
        self._database.execute("DELETE FROM claim WHERE id = ?", (name,))

    def claims(self) -> dict[str, Any]:
        """What is open, by id: work under way, and what killed processes had begun."""
        return {name: json.loads(cost) for name, cost in self._database.execute("SELECT id, cost FROM claim ORDER BY id")}

    def take_claims(self, other: "Ledger") -> None:
        """Takes over what is open in another ledger; twice is as good as once."""
        rows = other._database.execute("SELECT id, cost FROM claim").fetchall()
        self._database.executemany("INSERT OR IGNORE INTO claim VALUES (?, ?)", rows)

    def put_many(self, kind: str, results: Mapping[str, Any]) -> None:
        """Files many results in one transaction; as `put` for each."""
        with self._transaction():
            rows = [(kind, key, RANKS["done"], "", _bytes(result)) for key, result in results.items()]
            self._database.executemany(PUT, rows)

    def _put(self, kind: str, key: str, status: Status, reason: str, result: Any) -> Entry:
        self._database.execute(PUT, (kind, key, RANKS[status], reason, _bytes(result)))
        entry = self.get(kind, key)
        assert entry is not None, (kind, key)
        return entry

    def _page(self, last: tuple[str, str], kind: str | None) -> list[Any]:
        if kind is None:
            query = "SELECT * FROM work WHERE (kind, key) > (?, ?) ORDER BY kind, key LIMIT ?"
        else:
            query = "SELECT * FROM work WHERE kind = ? AND key > ? ORDER BY key LIMIT ?"
        return self._database.execute(query, (*last, PAGE)).fetchall()

    def _write(self, rows: list[tuple[Any, ...]]) -> None:
        with self._transaction():
            self._database.executemany(MERGE, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _prepare(self) -> None:
        try:
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.DatabaseError:
            raise ConfigError(f"{self.path} is not a ledger; give a ledger's file, or the path of a new one") from None
        if version > SCHEMA or (tables and "work" not in tables):
            raise ConfigError(f"{self.path} has schema {version}; we read {SCHEMA}: use the program that wrote it")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(f"PRAGMA synchronous = {self.synchronous}")
        with self._transaction():
            for statement in (TABLE, CLAIMS, f"PRAGMA user_version = {SCHEMA}"):
                self._database.execute(statement)


def open_existing(path: Path) -> Ledger:
    """A ledger to read from.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: it is no ledger.
    """
    if not path.is_file():
        raise MissingArtifactError(f"no ledger at {str(path)!r}; give the path of one that a run has written")
    return Ledger(path)


@contextmanager
def only_worker(path: Path) -> Iterator[None]:
    """Within the block no other process does the work of this ledger, so that nothing is paid for twice.

    The operating system frees it when the process ends, however that comes about.

    Raises:
        UserError: another process is at work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(f"{path}.working"), Path(f"{path}.pid")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        other = owner.read_text(encoding="utf-8") if owner.exists() else "unknown"
        raise UserError(f"process {other} is at work on {path}; wait for it or end it, or give another ledger") from None
    try:
        owner.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _bytes(result: Any) -> bytes:
    return canonical_json(result).encode(errors="backslashreplace")


def _row(entry: Entry) -> tuple[Any, ...]:
    return entry.kind, entry.key, RANKS[entry.status], entry.reason, entry.data


def _entry(row: tuple[str, str, int, str, bytes]) -> Entry:
    kind, key, rank, reason, data = row
    return Entry(kind, key, NAMES[rank], reason, data)
