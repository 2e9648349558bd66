"""Progress of long work, on stderr, so that stdout stays free for results."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")


def track(items: Sequence[Item], label: str, *, done: int = 0) -> Iterator[Item]:
    """Yields the items behind a progress bar; `done` pieces were finished by an earlier, interrupted run."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=len(items) + done, completed=done)
        for item in items:
            yield item
            progress.advance(task)
