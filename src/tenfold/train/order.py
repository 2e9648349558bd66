"""The order of rows in which batches hold rows of like length, so that little is padded, and come in random order."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from tenfold.train.encoding import EncodedRow

POOL = 50
"""Batches whose rows are sorted together: longer pools waste less, shorter ones mix better."""

Row = TypeVar("Row", bound=EncodedRow)


def by_length(rows: Sequence[Row], batch_size: int, *, seed: int) -> list[Row]:
    """The rows, so that each `batch_size` of them in turn are of like length; only the last batch may be short."""
    draw = Random(seed)
    shuffled = draw.sample(list(rows), len(rows))
    pool = POOL * batch_size
    sorted_rows = [
        row
        for start in range(0, len(shuffled), pool)
        for row in sorted(shuffled[start : start + pool], key=lambda row: len(row.ids))
    ]
    batches = [sorted_rows[start : start + batch_size] for start in range(0, len(sorted_rows), batch_size)]
    whole, rest = (batches[:-1], batches[-1:]) if len(rows) % batch_size else (batches, [])
    return [row for batch in [*draw.sample(whole, len(whole)), *rest] for row in batch]
