"""At most so many requests under way at one model, whoever asks."""

import asyncio

from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest
from tenfold.llm.slots import PerLoop, Slot, holding
from tenfold.llm.wrapping import Wrapper


class Limited(Wrapper):
    """A `ChatModel` that lets `concurrency` requests through at a time; the others wait their turn."""

    def __init__(self, model: ChatModel, concurrency: int) -> None:
        super().__init__(model)
        self.concurrency = concurrency
        self._slots = PerLoop(lambda: asyncio.Semaphore(concurrency))

    async def chat(self, request: ChatRequest) -> ChatReply:
        slot = Slot(self._slots.get())
        await slot.take()
        async with holding(slot):
            return await self.model.chat(request)
