"""Answers from a file where it holds them, else from the model; what was answered once is never asked again.

The key is the model's fingerprint and the request's digest, which holds the checksum of every picture's bytes. An
answer is on disk before the caller sees it.
"""

import asyncio
from pathlib import Path

from tenfold.llm.answers import Answers
from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError
from tenfold.llm.slots import PerLoop, lent
from tenfold.llm.wrapping import Wrapper


class Cached(Wrapper):
    """A `ChatModel` that asks the model inside only for what the file does not hold.

    Sampled answers are kept too: to draw another one, change the seed. Equal requests under way at the same time are
    asked once. Failures are recorded in the file, and asked again.
    """

    def __init__(self, model: ChatModel, path: Path) -> None:
        super().__init__(model)
        self.answers = Answers(path)
        self._running: PerLoop[dict[str, asyncio.Event]] = PerLoop(dict)
        """Requests under way; the event says that one has ended."""

    async def chat(self, request: ChatRequest) -> ChatReply:
        running = self._running.get()
        while True:
            known = self.answers.find(self.fingerprint, request.digest)
            if known is not None:
                return known
            if request.digest not in running:
                break
            async with lent():
                await running[request.digest].wait()
        running[request.digest] = asyncio.Event()
        try:
            return await self._ask(request)
        finally:
            running.pop(request.digest).set()

    async def _ask(self, request: ChatRequest) -> ChatReply:
        try:
            reply = await self.model.chat(request)
        except ProviderError as failure:
            self.answers.note_failure(self.fingerprint, request.digest, failure)
            raise
        return self.answers.keep(self.fingerprint, request.digest, reply)
