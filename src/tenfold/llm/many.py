"""Many requests at once: a bounded number under way, each reply or failure reported as it comes.

`concurrency` counts requests that are really under way. One that waits for its next attempt lends its slot
(`slots.lent`), and another worker uses it meanwhile; how many may wait like this is bounded too.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import copy_context

from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError
from tenfold.llm.slots import Slots, holding

OnReply = Callable[[str, ChatReply | ProviderError], None]

WORKERS_PER_SLOT = 16
"""Most requests per slot that are begun and not finished; beyond it nothing new is begun."""


async def ask_all(model: ChatModel, requests: Mapping[str, ChatRequest], *, concurrency: int, on_reply: OnReply) -> None:
    """Asks each request once and calls `on_reply(key, reply or failure)` exactly once for each, in order of completion.

    A request is looked up in the mapping when its turn comes, so the mapping may build it then. Cancelling stops
    everything that is under way; what was reported stays reported.

    Raises:
        Exception: anything but a ProviderError, from the model or from `on_reply`; the rest is then cancelled.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            _Asking(model, requests, on_reply, concurrency, tasks).start_workers()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


class _Asking:
    """Workers that share the keys to ask; each goes from one request to the next in its slot without a pause."""

    def __init__(
        self,
        model: ChatModel,
        requests: Mapping[str, ChatRequest],
        on_reply: OnReply,
        concurrency: int,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.model, self.requests, self.on_reply, self.tasks = model, requests, on_reply, tasks
        self.context = copy_context()
        self.keys = deque(requests)
        self.slots = Slots(concurrency, on_free=self.fill_slot)
        self.num_idle_workers = concurrency * WORKERS_PER_SLOT

    def start_workers(self) -> None:
        """One worker for each free slot, while there are requests."""
        for _ in range(min(self.slots.free, len(self.keys), self.num_idle_workers)):
            self.num_idle_workers -= 1
            # in the caller's context: the one at hand may be that of a call that has just lent its slot
            self.tasks.create_task(self.work(), context=self.context.copy())

    def fill_slot(self) -> None:
        """A slot has come free. A worker that is being cancelled leaves it empty: its group takes no new ones."""
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            self.start_workers()

    async def work(self) -> None:
        """Asks until nothing is left, or until a worker that lent its slot wants one back."""
        try:
            async with holding(self.slots):
                while self.keys and not self.slots.wanted:
                    await self.ask(self.keys.popleft())
        except BaseException:
            self.keys.clear()
            raise
        finally:
            self.num_idle_workers += 1

    async def ask(self, key: str) -> None:
        try:
            reply = await self.model.chat(self.requests[key])
        except ProviderError as failure:
            return self.on_reply(key, failure)
        self.on_reply(key, reply)
        if reply.cached:
            await asyncio.sleep(0)  # nothing was waited for, so let the others have their turn
        return None
