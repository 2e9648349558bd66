"""A chat model that answers from a script: for tests, demonstrations, and places where no model is needed.

The script is a function of the request, or a list of texts that is used up in the order of asking. Every request is
kept in `requests`.
"""

import asyncio
from collections.abc import Callable, Sequence

from tenfold.llm.chat import ChatReply, ChatRequest, ProviderError

Script = Callable[[ChatRequest], ChatReply | str] | Sequence[str]


class Scripted:
    """A `ChatModel` without a model."""

    def __init__(self, name: str, answer: Script, *, takes_images: bool = False, latency_s: float = 0.0) -> None:
        self.name = name
        self.takes_images = takes_images
        self.requests: list[ChatRequest] = []
        """Every request, in the order of asking."""
        self._answer = answer
        self._latency_s = latency_s

    @property
    def fingerprint(self) -> str:
        return f"scripted:{self.name}"

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The scripted answer, after the latency.

        Raises:
            ProviderError: pictures were sent to a script that takes none, or the list of answers is used up.
        """
        number = len(self.requests)
        self.requests.append(request)
        await asyncio.sleep(self._latency_s)
        if request.images and not self.takes_images:
            raise ProviderError("unsupported", f"{self.name} takes no pictures; send text only")
        reply = self._answer(request) if callable(self._answer) else self._listed(self._answer, number)
        return ChatReply(reply) if isinstance(reply, str) else reply

    def _listed(self, answers: Sequence[str], number: int) -> str:
        if number >= len(answers):
            raise ProviderError("rejected", f"{self.name} has {len(answers)} answers and was asked once more")
        return answers[number]
