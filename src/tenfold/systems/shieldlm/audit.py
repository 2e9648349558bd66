"""A log of decisions that shows any later change: each record holds the hash of the one before it.

One JSON object a line, in canonical form; `hash` is sha256 over the rest of the record. A head file holds the number of
records and the last hash, against truncation. Inputs are kept as HMAC under a key of their own; texts only if asked for, and
then in a side file behind a salted commitment, so that a text can be erased and the chain stays valid.

Who can rewrite log and head together can cut the end off: publish the head's hash elsewhere from time to time.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from tenfold.core import jsonl
from tenfold.core.config import canonical_json
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.store import atomic

GENESIS = "0" * 64


@dataclass(frozen=True)
class Checked:
    """What `verify` found; `problem` is None for a log that nobody changed."""

    num_records: int
    problem: str | None
    first_bad: int | None
    """Number (from 0) of the first record at fault."""


class AuditLog:
    """Appends decisions; several processes may share a log. With `sync`, a record is on the disk when `append` returns."""

    def __init__(self, path: Path, *, keeps_text: bool = False, sync: bool = True) -> None:
        self.path = path
        self.keeps_text = keeps_text
        self.sync = sync
        self.head_path = path.with_suffix(".head.json")
        self.texts_path = path.with_suffix(".texts.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{path}.lock")
        self._key = _key(path.with_suffix(".key"))
        self._end = (-1, 0, GENESIS)
        """Bytes, records and last hash at which we left the log."""
        with self._lock:
            self._recover()

    def append(self, text: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Adds a decision about `text`; returns the whole record.

        Args:
            record: what was decided and on which grounds; plain JSON values.
        """
        with self._lock:
            self._recover()
            extra: dict[str, Any] = {"input": self.digest(text)}
            if self.keeps_text:
                extra["text"] = self._keep(text)
            return self._write({**record, **extra})

    def digest(self, text: str) -> str:
        """The HMAC under which a text is found again by whoever holds the key."""
        return hmac.new(self._key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()

    def redact(self, seq: int) -> bool:
        """Erases the text of a record; the chain stays valid. False if there was none."""
        with self._lock:
            kept = jsonl.recover(self.texts_path)
            rest = [row for row in kept if row["seq"] != seq]
            atomic.write_text(self.texts_path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rest))
        return len(rest) < len(kept)

    def _write(self, body: Mapping[str, Any]) -> dict[str, Any]:
        size, seq, last = self._end
        record = {**body, "seq": seq, "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", "prev": last}
        record["hash"] = record_hash(record)
        line = canonical_json(record).encode() + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
            if self.sync:
                file.flush()
                os.fsync(file.fileno())
        self._end = (size + len(line), seq + 1, record["hash"])
        self._write_head()
        return record

    def _write_head(self) -> None:
        _, count, last = self._end
        text = canonical_json({"count": count, "hash": last})
        atomic.write_text(self.head_path, text) if self.sync else self.head_path.write_text(text, encoding="utf-8")

    def _recover(self) -> None:
        """Finds the log's end again if it is not where we left it; a torn last line is cut off and put on record."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size == self._end[0]:
            return
        content = self.path.read_bytes() if size else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < size:
            os.truncate(self.path, len(whole))
        lines = whole.splitlines()
        last = json.loads(lines[-1]) if lines else None
        self._end = (len(whole), len(lines), last["hash"] if last else GENESIS)
        if len(whole) < size:
            self._write({"recovered": size - len(whole)})
        elif lines:
            self._write_head()

    def _keep(self, text: str) -> str:
        salt = secrets.token_hex(16)
        jsonl.append(self.texts_path, {"seq": self._end[1], "salt": salt, "text": text})
        return commitment(salt, text)


def record_hash(record: Mapping[str, Any]) -> str:
    """sha256 over the canonical form of all but `hash`."""
    return hashlib.sha256(canonical_json({k: v for k, v in record.items() if k != "hash"}).encode()).hexdigest()


def commitment(salt: str, text: str) -> str:
    """What the chain holds of a text that is kept beside it."""
    return hashlib.sha256(f"{salt}\0{text}".encode(errors="surrogatepass")).hexdigest()


def verify(path: Path) -> Checked:
    """Looks at every record, the head and the kept texts.

    Raises:
        MissingArtifactError: there is no log.
    """
    if not path.is_file():
        raise MissingArtifactError(f"no audit log {str(path)!r}; give the path of a .jsonl file")
    state = _Chain()
    for line in _lines(path):
        if problem := state.take(line):
            return Checked(state.count, problem, state.count)
    return Checked(state.count, *_head_problem(path, state))


@dataclass
class _Chain:
    count: int = 0
    last: str = GENESIS

    def __post_init__(self) -> None:
        self.texts: dict[int, str] = {}

    def take(self, line: bytes) -> str | None:
        """Checks the next line; what is wrong with it, or None."""
        try:
            record = json.loads(line)
        except (ValueError, UnicodeDecodeError):
            return "it is not JSON"
        if not isinstance(record, dict) or canonical_json(record).encode(errors="surrogatepass") + b"\n" != line:
            return "it is not in canonical form"
        if record.get("seq") != self.count:
            return f"its number is {record.get('seq')}, not {self.count}"
        if record.get("prev") != self.last:
            return "it does not follow the record before it"
        if record.get("hash") != record_hash(record):
            return "its hash is not that of its content"
        if "text" in record:
            self.texts[self.count] = record["text"]
        self.count, self.last = self.count + 1, record["hash"]
        return None

    @classmethod
    def new(cls) -> Self:
        return cls()


def _head_problem(path: Path, chain: _Chain) -> tuple[str | None, int | None]:
    head_path = path.with_suffix(".head.json")
    if not head_path.is_file():
        return "the head file is missing", None
    try:
        head = json.loads(head_path.read_bytes())
        count, last = head["count"], head["hash"]
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        return "the head file cannot be read", None
    if canonical_json(head).encode() != head_path.read_bytes():
        return "the head file is not in canonical form", None
    if count != chain.count:
        return f"the head counts {count} records, the log has {chain.count}", min(count, chain.count)
    if last != chain.last:
        return "the head's hash is not that of the last record", max(0, chain.count - 1)
    for row in jsonl.read_whole(path.with_suffix(".texts.jsonl")):
        if chain.texts.get(row["seq"]) != commitment(row["salt"], row["text"]):
            return "a kept text is not the one that was judged", row["seq"]
    return None, None


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _key(path: Path) -> bytes:
    """The key of the inputs' HMAC: TENFOLD_AUDIT_KEY, else a file that only its owner reads."""
    if own := os.environ.get("TENFOLD_AUDIT_KEY"):
        return own.encode()
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    key = path.read_text().strip()
    if not key:
        raise ConfigError(f"the audit key {str(path)!r} is empty; restore it or set TENFOLD_AUDIT_KEY")
    return key.encode()
