"""Slots: the right to have one request under way. Whoever only waits (a back-off, a lock) lends its slot to others.

`ask_all` and `Limited` hold a slot around each call. Code deeper down need not know which: `lent()` gives the held
slot back for the length of a block, so that waiting never leaves the endpoint idle.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

Thing = TypeVar("Thing")


class PerLoop(Generic[Thing]):
    """One thing for each event loop: semaphores and connections cannot be moved from one to another."""

    def __init__(self, make: Callable[[], Thing]) -> None:
        self._make = make
        self._things: WeakKeyDictionary[asyncio.AbstractEventLoop, Thing] = WeakKeyDictionary()

    def get(self) -> Thing:
        """The running loop's thing, made when it is first asked for."""
        loop = asyncio.get_running_loop()
        if loop not in self._things:
            self._things[loop] = self._make()
        return self._things[loop]


class Slot:
    """One unit of a semaphore, taken by `take` and given back by `give`; giving twice gives once."""

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore = semaphore
        self.held = False

    async def take(self) -> None:
        """Waits until the slot is ours."""
        await self._semaphore.acquire()
        self.held = True

    def give(self) -> None:
        """Gives the slot back, if it is ours."""
        if self.held:
            self.held = False
            self._semaphore.release()


_ours: ContextVar[tuple[Slot, ...]] = ContextVar("slots held by the current call", default=())


@asynccontextmanager
async def holding(slot: Slot) -> AsyncIterator[None]:
    """Runs a block in a slot that was taken; gives it back at the end, however the block ends."""
    token = _ours.set((*_ours.get(), slot))
    try:
        yield
    finally:
        _ours.reset(token)
        slot.give()


@asynccontextmanager
async def lent() -> AsyncIterator[None]:
    """Lends the slots that the current call holds while the block waits, and takes them again afterwards."""
    slots = [slot for slot in _ours.get() if slot.held]
    for slot in slots:
        slot.give()
    yield
    for slot in slots:
        await slot.take()
