"""Slots: the right to have one request under way. Whoever only waits (a back-off, an equal request) lends its slot.

`ask_all` and `Limited` hold a slot around each call. Code deeper down need not know which: `lent()` gives the held
slots back for the length of a block, so that waiting never leaves the endpoint idle.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

Thing = TypeVar("Thing")


class Slots:
    """A number of slots. One that is given back goes to whoever has waited longest; `on_free` hears if nobody waits."""

    def __init__(self, number: int, *, on_free: Callable[[], None] = lambda: None) -> None:
        assert number > 0, number
        self.free = number
        self._withheld = 0
        """Slots that are out of use as soon as they are given back."""
        self._on_free = on_free
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a slot."""
        return any(not waiter.done() for waiter in self._waiting)

    async def take(self) -> None:
        """Takes a slot, waiting in line if there is none."""
        if self.free:
            self.free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give()  # it was handed over in the moment of the cancellation
            raise

    def shrink(self, count: int) -> None:
        """Takes so many slots out of use: free ones now, held ones when they are given back."""
        now = min(self.free, count)
        self.free -= now
        self._withheld += count - now

    def grow(self) -> None:
        """Brings one more slot into use."""
        if self._withheld:
            self._withheld -= 1
        else:
            self._hand_on()

    def give(self) -> None:
        """Gives a slot back."""
        if self._withheld:
            self._withheld -= 1
        else:
            self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.free += 1
        self._on_free()


class Slot:
    """One of the slots, in the hands of one call; giving it back twice gives it back once."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.held = False

    async def take(self) -> None:
        """Waits until the slot is ours."""
        await self._slots.take()
        self.held = True

    def give(self) -> None:
        """Gives the slot back if it is ours."""
        if self.held:
            self.held = False
            self._slots.give()


_ours: ContextVar[tuple[Slot, ...]] = ContextVar("slots of the current call", default=())


@asynccontextmanager
async def holding(slots: Slots) -> AsyncIterator[None]:
    """Runs a block in a slot: waits for it, and gives it back however the block ends."""
    slot = Slot(slots)
    await slot.take()
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


class PerLoop(Generic[Thing]):
    """One thing for each event loop: slots and connections cannot be moved from one to another."""

    def __init__(self, make: Callable[[], Thing]) -> None:
        self._make = make
        self._things: WeakKeyDictionary[asyncio.AbstractEventLoop, Thing] = WeakKeyDictionary()

    def get(self) -> Thing:
        """The running loop's thing, made when it is first asked for."""
        loop = asyncio.get_running_loop()
        if loop not in self._things:
            self._things[loop] = self._make()
        return self._things[loop]
