"""One thread decodes for all clients: requests go in, their events come out in the event loop.

The scheduler belongs to the thread; `submit` and `cancel` belong to the event loop. If a pass itself breaks, every
request under way is told so, and the engine goes on with the next ones.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tenfold.systems.specdec.requests import Request
from tenfold.systems.specdec.scheduler import Event, Scheduler

log = logging.getLogger(__name__)

IDLE_S = 0.5
"""How long the idle thread sleeps before it looks whether it should end; work wakes it at once."""


class StoppedError(Exception):
    """The engine has been stopped."""


@dataclass
class Ticket:
    """A submitted request, as its client sees it."""

    number: int
    submitted: float = field(default_factory=time.perf_counter)
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)

    async def follow(self) -> AsyncIterator[Event]:
        """The request's events, up to the one with its result.

        Raises:
            Exception: what ended the request instead of a text.
        """
        while True:
            event = await self.events.get()
            if event.failure is not None:
                raise event.failure
            yield event
            if event.result is not None:
                return


class Engine:
    """Runs a scheduler in a thread, between `start` and `stop`."""

    def __init__(self, new_scheduler: Callable[[], Scheduler]) -> None:
        self._new_scheduler = new_scheduler
        self._scheduler = new_scheduler()
        self._tickets: dict[int, Ticket] = {}
        self._work = threading.Event()
        self._is_stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)

    @property
    def num_running(self) -> int:
        """Requests in a row of the engine."""
        return len(self._scheduler.seats)

    @property
    def num_waiting(self) -> int:
        """Requests that have no row yet."""
        return self._scheduler.num_waiting

    @property
    def num_reused(self) -> int:
        """Prompt tokens that a row still held from an earlier text, since the scheduler began."""
        return self._scheduler.kept.num_reused if self._scheduler.kept else 0

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to decode; events are delivered in `loop`."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Ends after the pass under way; requests that are not finished fail."""
        self._is_stopping = True
        self._work.set()
        if self._thread.is_alive():
            self._thread.join()
        self._fail_all(StoppedError())

    def submit(self, request: Request) -> Ticket:
        """Queues a request. Called in the event loop, as all that touches tickets.

        Raises:
            UserError: the request does not fit into the model, or its settings do not suit.
        """
        number = self._scheduler.add(request)
        ticket = self._tickets[number] = Ticket(number)
        self._work.set()
        return ticket

    def cancel(self, ticket: Ticket) -> bool:
        """Ends a request; returns whether it was still under way."""
        if self._tickets.get(ticket.number) is not ticket:  # over, or of a scheduler that has been replaced
            return False
        del self._tickets[ticket.number]
        self._scheduler.cancel(ticket.number)
        self._work.set()
        return True

    def _run(self) -> None:
        assert self._loop is not None
        while not self._is_stopping:
            if not self._scheduler.is_busy:
                self._work.wait(IDLE_S)
                self._work.clear()
                continue
            try:
                events = self._scheduler.step()
            except Exception as failure:  # a server outlives a broken pass
                log.exception("a pass broke; all answers under way end")
                self._restart(failure)
                continue
            if events:
                self._in_loop(lambda events=events: self._deliver(events))

    def _restart(self, failure: Exception) -> None:
        """Waits until everybody is told: no request may be queued in the broken scheduler meanwhile."""
        told = threading.Event()
        self._in_loop(lambda: (self._fail_all(failure), told.set()))
        while not told.wait(IDLE_S) and not self._is_stopping:
            pass

    def _in_loop(self, function: Callable[[], object]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the event loop is closed: nobody is left to be told
            self._is_stopping = True

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            over = event.result is not None or event.failure is not None
            ticket = self._tickets.pop(event.request_id, None) if over else self._tickets.get(event.request_id)
            if ticket is not None:
                ticket.events.put_nowait(event)

    def _fail_all(self, failure: Exception) -> None:
        """All requests end and a new scheduler begins: after a broken pass nobody knows what the cache holds."""
        tickets, self._tickets = self._tickets, {}
        self._scheduler = self._new_scheduler()
        for number, ticket in tickets.items():
            ticket.events.put_nowait(Event(number, failure=failure))
