"""At most so many requests under way at one model, whoever asks."""

from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest
from tenfold.llm.slots import PerLoop, Slots, holding
from tenfold.llm.wrapping import Wrapper


class Limited(Wrapper):
    """A `ChatModel` that lets `concurrency` requests through at a time; the others wait in line."""

    def __init__(self, model: ChatModel, concurrency: int) -> None:
        super().__init__(model)
        self.concurrency = concurrency
        self._slots = PerLoop(lambda: Slots(concurrency))

    async def chat(self, request: ChatRequest) -> ChatReply:
        async with holding(self._slots.get()):
            return await self.model.chat(request)
