"""Asking again after failures that may pass: waits that double, with jitter, and never shorter than the endpoint asks.

The jitter comes from the request's digest, so a run repeats its own timing. While one request waits, its slot
serves another.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from tenfold.core.seeds import derive
from tenfold.llm.chat import TRANSIENT, ChatModel, ChatReply, ChatRequest, FailureKind, ProviderError
from tenfold.llm.slots import lent
from tenfold.llm.wrapping import Wrapper

Sleep = Callable[[float], Awaitable[None]]
OnFailure = Callable[[ChatRequest, ProviderError], None]


class Retrying(Wrapper):
    """A `ChatModel` that makes up to `attempts` attempts; only the last failure reaches the caller."""

    def __init__(
        self,
        model: ChatModel,
        *,
        attempts: int = 6,
        first_wait_s: float = 0.5,
        longest_wait_s: float = 60.0,
        sleep: Sleep = asyncio.sleep,
        on_failure: OnFailure = lambda request, failure: None,
    ) -> None:
        super().__init__(model)
        self.attempts = attempts
        self.first_wait_s = first_wait_s
        self.longest_wait_s = longest_wait_s
        """Longest back-off; an endpoint that asks for more than this is not asked again."""
        self.failures: Counter[FailureKind] = Counter()
        """Failed attempts by kind, those that a later attempt made good included."""
        self._sleep = sleep
        self.on_failure = on_failure
        """Hears of every failed attempt, also of those that a later one makes good."""

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The first reply that comes.

        Raises:
            ProviderError: of the last attempt, with the number of attempts in its message.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                return await self.model.chat(request)
            except ProviderError as failure:
                self.failures[failure.kind] += 1
                self.on_failure(request, failure)
                if not self._may_pass(failure):
                    raise
                if attempt == self.attempts:
                    raise _told(failure, attempt) from None
                wait_s = self._wait_s(request, attempt, failure)
            async with lent():
                await self._sleep(wait_s)
        raise AssertionError(f"attempts is {self.attempts}")

    def _may_pass(self, failure: ProviderError) -> bool:
        return failure.kind in TRANSIENT and (failure.retry_after_s or 0.0) <= self.longest_wait_s

    def _wait_s(self, request: ChatRequest, attempt: int, failure: ProviderError) -> float:
        """Doubles from attempt to attempt, times 0.5 to 1; not less than asked for, where the jitter comes on top."""
        jitter = derive(attempt, request.digest) / 2**63
        backed_off = min(self.longest_wait_s, self.first_wait_s * 2 ** (attempt - 1)) * (0.5 + jitter / 2)
        asked_for = (failure.retry_after_s or 0.0) + self.first_wait_s * jitter
        return backed_off if failure.retry_after_s is None else max(backed_off, asked_for)


def _told(failure: ProviderError, attempts: int) -> ProviderError:
    message = f"{failure.message} (attempt {attempts} of {attempts})"
    return ProviderError(failure.kind, message, retry_after_s=failure.retry_after_s)
