"""The verb `audit`: verify a log of decisions, show its end, or erase a text from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ApparatusError, ConfigError, MissingArtifactError
from tenfold.core.jsonl import read_whole
from tenfold.core.records import Metrics
from tenfold.store.runs import Run
from tenfold.systems.shieldlm.audit import AuditLog, verify


class AuditConfig(Config):
    """Verify, show or redact a log of decisions."""

    log: Path
    """The log's .jsonl file."""
    action: Literal["verify", "show", "redact"] = "verify"
    """verify looks at every record; show prints the last ones; redact erases a kept text and leaves the chain valid."""
    seq: int | None = Field(None, ge=0)
    """For redact: the record's number."""
    last: int = Field(10, ge=1)
    """For show: how many."""


def audit(config: AuditConfig, run: Run) -> Metrics:
    """What was found.

    Raises:
        ApparatusError: the log has been changed; the message names the first record at fault.
    """
    if config.action == "show":
        if not config.log.is_file():
            raise MissingArtifactError(f"no audit log {str(config.log)!r}; give the path of a .jsonl file")
        return {"action": "show", "records": read_whole(config.log)[-config.last :]}
    if config.action == "redact":
        if config.seq is None:
            raise ConfigError("redact needs the number of a record; give --seq")
        checked(config.log)
        return {"action": "redact", "seq": config.seq, "erased": AuditLog(config.log).redact(config.seq)}
    return {"action": "verify", "records": checked(config.log), "valid": True}


def checked(log: Path) -> int:
    """How many records a valid log has; ApparatusError for any other."""
    found = verify(log)
    if found.problem:
        where = "" if found.first_bad is None else f" at record {found.first_bad}"
        raise ApparatusError(f"{log} has been changed{where}: {found.problem}")
    return found.num_records


def summary(metrics: Mapping[str, Any]) -> str:
    """What a person reads in the terminal."""
    if metrics["action"] == "verify":
        return f"{metrics['records']} records, unchanged"
    if metrics["action"] == "redact":
        return f"the text of record {metrics['seq']} " + ("is erased" if metrics["erased"] else "was not kept")
    return "\n".join(f"{row['seq']:>6} {row['time']} {row.get('decision', 'recovered')}" for row in metrics["records"])
