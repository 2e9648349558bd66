"""Models that Inspect knows as `tenfold/<name>`: how each is opened, and how many calls it takes at a time.

A home that already holds a `ChatModel` offers it here and gives Inspect the name it gets back; a test does so with a
scripted model. Every other name is resolved by the application, which knows local models and endpoints.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tenfold.llm.chat import ChatModel

PROVIDER = "tenfold"


@dataclass(frozen=True)
class Backend:
    """A model that is opened when the first answer is asked of it."""

    open: Callable[[], ChatModel]
    connections: int = 1
    """How many calls may be under way at a time; a local model computes one after the other."""


class Resolve(Protocol):
    """From the name after `tenfold/` and the arguments of `inspect eval -M` to a backend; UserError if it cannot be."""

    def __call__(self, name: str, **arguments: object) -> Backend: ...


_offered: dict[str, Backend] = {}


def offer(model: ChatModel, *, name: str | None = None, connections: int = 1) -> str:
    """Makes a model that is already open known to Inspect; returns the name to give to `run_tasks`."""
    known_as = model.name if name is None else name
    _offered[known_as] = Backend(lambda: model, connections)
    return f"{PROVIDER}/{known_as}"


def offered(name: str) -> Backend | None:
    """The backend that was offered under this name, or None."""
    return _offered.get(name)
