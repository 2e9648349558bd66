"""Many requests at once: a bounded number under way, each reply or failure reported as it comes.

`concurrency` counts requests that are really under way. One that waits for its next attempt lends its slot
(`slots.lent`), so that the endpoint stays busy; how many may wait like this is bounded too.
"""

import asyncio
from collections.abc import Callable, Mapping

from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError
from tenfold.llm.slots import Slot, holding

OnReply = Callable[[str, ChatReply | ProviderError], None]

WAITING_PER_SLOT = 16
"""Most requests per slot that are begun and not finished; beyond it nothing new is begun."""


async def ask_all(model: ChatModel, requests: Mapping[str, ChatRequest], *, concurrency: int, on_reply: OnReply) -> None:
    """Asks each request once and calls `on_reply(key, reply or failure)` exactly once for each, in order of completion.

    The mapping is read as slots become free, so it may build its requests when they are looked up. Cancelling stops
    everything that is under way; what was reported stays reported.

    Raises:
        Exception: anything but a ProviderError, from the model or from `on_reply`; the rest is then cancelled.
    """
    slots = asyncio.Semaphore(concurrency)
    begun = asyncio.Semaphore(concurrency * WAITING_PER_SLOT)

    async def ask(key: str, request: ChatRequest, slot: Slot) -> None:
        try:
            async with holding(slot):
                reply = await _reply_or_failure(model, request)
            on_reply(key, reply)
        finally:
            begun.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            for key in requests:
                await begun.acquire()
                slot = Slot(slots)
                await slot.take()
                tasks.create_task(ask(key, requests[key], slot))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def _reply_or_failure(model: ChatModel, request: ChatRequest) -> ChatReply | ProviderError:
    try:
        return await model.chat(request)
    except ProviderError as failure:
        return failure
