"""A SQLite file of answers by model and request, safe against a kill and against several processes.

Every answer is one transaction in a write-ahead log. Of two answers to the same request the first one stays. Failures
are kept beside them as a record; they are never given as answers.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from weakref import finalize

from tenfold.core.errors import ApparatusError, UserError
from tenfold.llm.chat import ChatReply, ProviderError, Usage

TABLES = """
create table if not exists answers (
    model text not null, request text not null, reply text not null, at text not null default current_timestamp,
    primary key (model, request)
) without rowid;
create table if not exists failures (
    model text not null, request text not null, kind text not null, message text not null,
    at text not null default current_timestamp
);
"""
LOCK_TIMEOUT_S = 60.0
"""How long one process waits for another one's write."""


class Answers:
    """The file; one connection, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it.

        Raises:
            UserError: there is something else at `path`, or it cannot be written.
        """
        self.path = path
        self._lock = threading.Lock()
        self._connection = _open(path)
        self.close = finalize(self, self._connection.close)

    def find(self, model: str, request: str) -> ChatReply | None:
        """The stored answer of a model (fingerprint) to a request (digest)."""
        query = "select reply from answers where model = ? and request = ?"
        with self._using() as connection:
            row = connection.execute(query, (model, request)).fetchone()
        return _loaded(row[0]) if row else None

    def keep(self, model: str, request: str, reply: ChatReply) -> ChatReply:
        """Stores an answer; returns it, or the one that another process stored meanwhile."""
        with self._using() as connection:
            row = (model, request, json.dumps(asdict(reply)))
            is_new = connection.execute(
                "insert or ignore into answers (model, request, reply) values (?, ?, ?)", row
            ).rowcount
        return reply if is_new else self.find(model, request) or reply

    def note_failure(self, model: str, request: str, failure: ProviderError) -> None:
        """Records that a request was given up."""
        row = (model, request, failure.kind, failure.message)
        with self._using() as connection:
            connection.execute("insert into failures (model, request, kind, message) values (?, ?, ?, ?)", row)

    def failures(self) -> list[tuple[str, str]]:
        """(kind, message) of every request that was given up, oldest first."""
        with self._using() as connection:
            return connection.execute("select kind, message from failures order by rowid").fetchall()

    def __len__(self) -> int:
        with self._using() as connection:
            return connection.execute("select count(*) from answers").fetchone()[0]

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock:
                yield self._connection
        except sqlite3.Error as error:
            raise ApparatusError(f"the cache of answers {self.path} failed: {error}") from None


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")  # a kill loses nothing; a power cut may lose the last answers
        connection.executescript(TABLES)
    except (sqlite3.Error, OSError) as error:
        raise UserError(
            f"cannot keep answers in {str(path)!r} ({error}); give the path of a new file or of an earlier cache"
        ) from None
    return connection


def _loaded(text: str) -> ChatReply:
    fields = json.loads(text)
    fields["usage"] = Usage(**fields["usage"])
    for name in ("candidate_logprobs", "candidate_tokens"):
        fields[name] = tuple(fields[name])
    return ChatReply(**fields | {"cached": True})
