"""From disciplines to pairs, each step as soon as its parents are there: asynchronous, resumable, in bounded memory.

An answer may be asked for while other syllabi are pending. The one barrier is local: a discipline's subjects are united
when all its queries are in; if one of them has failed, the discipline waits for a later run, so that the union never
depends on luck. The tree is read from the ledger afterwards (`reading`), so the order of completion leaves no trace.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from tenfold.systems.glan.asking import Asking, NotAskedError
from tenfold.systems.glan.growing import Conversation, list_subjects, make_pair, write_syllabus
from tenfold.systems.glan.parsing import ParseError, unite
from tenfold.systems.glan.planner import Call, Planner
from tenfold.systems.glan.rounds import Accepts, Rounds, accept_all
from tenfold.systems.glan.sampling import Draw
from tenfold.systems.glan.tree import Discipline, Subject, Syllabus

Item = TypeVar("Item")
Grown = TypeVar("Grown")
OPEN_PER_SLOT = 2
"""Nodes of each level that are open at a time, for each request that may be in flight."""


async def grow(
    planner: Planner,
    asking: Asking,
    disciplines: Sequence[Discipline],
    *,
    accepts: Accepts = accept_all,
    on_pair: Callable[[], object] = lambda: None,
) -> None:
    """Asks for everything that the ledger does not hold yet; calls `on_pair` for each pair that is whole.

    Args:
        accepts: says which pairs are good; the others are replaced in further rounds (`rounds`).
    """
    try:
        await Growing(planner, asking, accepts, on_pair).all(disciplines)
    except ExceptionGroup as group:
        raise _first(group) from None


class Growing:
    """Three lanes, one per level, bound how many nodes are open; the deepest one never waits for the others."""

    def __init__(self, planner: Planner, asking: Asking, accepts: Accepts, on_pair: Callable[[], object]) -> None:
        self.planner, self.asking, self.accepts, self.on_pair = planner, asking, accepts, on_pair
        width = OPEN_PER_SLOT * asking.concurrency
        self.disciplines, self.subjects, self.pairs = (asyncio.Semaphore(width) for _ in range(3))

    async def all(self, disciplines: Sequence[Discipline]) -> None:
        await _spread(disciplines, self.discipline, self.disciplines)

    async def discipline(self, discipline: Discipline) -> None:
        queries = (self.query(discipline, query) for query in range(self.planner.config.queries))
        lists = await asyncio.gather(*queries)
        if any(subjects is None for subjects in lists):
            return
        united = unite([subjects for subjects in lists if subjects is not None], self.planner.config.subjects)
        await _spread(united, lambda subject: self.subject(discipline, subject), self.subjects)

    async def query(self, discipline: Discipline, query: int) -> Sequence[Subject] | None:
        """The subjects of one query: none where it cannot be read, None where it was not answered."""
        try:
            return await self.converse(list_subjects(self.planner, discipline, query))
        except ParseError:
            return ()
        except NotAskedError:
            return None

    async def subject(self, discipline: Discipline, subject: Subject) -> None:
        try:
            syllabus = await self.converse(write_syllabus(self.planner, discipline, subject))
        except (ParseError, NotAskedError):
            return
        rounds = Rounds(self.planner, syllabus, self.accepts)
        while drawn := rounds.next():
            await _spread(drawn, lambda draw: self.pair(syllabus, draw, rounds), self.pairs)

    async def pair(self, syllabus: Syllabus, draw: Draw, rounds: Rounds) -> None:
        try:
            pair = await self.converse(make_pair(self.planner, syllabus, draw))
        except NotAskedError:
            return rounds.missing()
        except ParseError:
            return None
        rounds.came(draw, pair)
        self.on_pair()
        return None

    async def converse(self, conversation: Conversation[Grown]) -> Grown:
        """Asks what a conversation asks; one that cannot be read is filed under `unread` with its reason."""
        call = next(conversation)
        while True:
            reply = await self.asking.ask(call)
            try:
                call = conversation.send(reply)
            except StopIteration as end:
                return end.value
            except ParseError as failure:
                self.note_unread(call, failure)
                raise

    def note_unread(self, call: Call, failure: ParseError) -> None:
        self.asking.ledger.drop("unread", call.key, f"{call.kind}: {failure}")


async def _spread(items: Iterable[Item], work: Callable[[Item], Awaitable[None]], lane: asyncio.Semaphore) -> None:
    """Works on all items, each in a task of its own, begun when the lane has room."""

    async def one(item: Item) -> None:
        try:
            await work(item)
        finally:
            lane.release()

    async with asyncio.TaskGroup() as tasks:
        for item in items:
            await lane.acquire()
            tasks.create_task(one(item))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
