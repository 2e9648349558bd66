"""Progress of running tasks, counted by Inspect's hook at the end of each sample and shown on stderr."""

import contextlib
from collections.abc import Callable, Iterator

from inspect_ai.hooks import Hooks, SampleEnd, hooks

from tenfold.store.progress import counter


class _Shown:
    """What is on the screen: nothing, or a bar and how far it is."""

    advance: Callable[[int], None] | None = None
    done = 0


@contextlib.contextmanager
def showing(label: str, total: int) -> Iterator[None]:
    """Shows a bar on stderr for the length of the block."""
    with counter(label, total) as advance:
        _Shown.advance, _Shown.done = advance, 0
        try:
            yield
        finally:
            _Shown.advance = None


@hooks(name="tenfold_progress", description="progress of samples on stderr")
class _SampleProgress(Hooks):
    def enabled(self) -> bool:
        return _Shown.advance is not None

    async def on_sample_end(self, data: SampleEnd) -> None:
        if _Shown.advance is not None:
            _Shown.done += 1
            _Shown.advance(_Shown.done)
