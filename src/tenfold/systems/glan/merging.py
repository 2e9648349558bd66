"""The verb `merge`: ledgers of several machines or shards become one; the order of merging leaves no trace."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from tenfold.core.config import Config, split_commas
from tenfold.core.records import Metrics
from tenfold.store.ledger import Ledger, open_existing
from tenfold.store.progress import track
from tenfold.store.runs import Run


class MergeConfig(Config):
    """Merge work ledgers, such as those of `generate --shard`, into one."""

    ledgers: Annotated[tuple[Path, ...], BeforeValidator(split_commas), Field(min_length=1)]
    """Ledgers to read."""
    out: Path
    """The ledger to write; what it holds already stays, so merging twice changes nothing."""


def merge(config: MergeConfig, run: Run) -> Metrics:
    """Merges, and says what the result holds.

    Raises:
        MissingArtifactError: there is no such ledger.
    """
    for path in config.ledgers:
        open_existing(path).close()
    with Ledger(config.out) as target:
        for path in track(config.ledgers, "Ledgers"):
            merge_file(path, target)
        return {
            "ledgers": len(config.ledgers),
            "out": str(config.out),
            "entries": target.counts(),
            "digest": target.digest(),
        }


def merge_file(path: Path, target: Ledger) -> None:
    """Takes all that one ledger knows into another."""
    with open_existing(path) as source:
        target.merge(source.entries())
        target.take_claims(source)


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    done = sum(counts["done"] for counts in metrics["entries"].values())
    return f"{metrics['ledgers']} ledgers in {metrics['out']}, which now holds {done:,} replies"
