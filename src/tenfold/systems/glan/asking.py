"""Asking the teacher through the ledger: what was answered once is never asked again, and what was not says why.

A reply is in the ledger before anybody acts on it. Equal calls under way at the same time are asked once. A failed call is
noted with its reason, and asked again in a later run.
"""

import asyncio
from typing import Any

from tenfold.core.errors import ApparatusError
from tenfold.llm.chat import ChatModel, ChatReply, ProviderError
from tenfold.llm.slots import Slots, holding
from tenfold.store.ledger import Ledger
from tenfold.systems.glan.budget import Budget, estimated_tokens
from tenfold.systems.glan.planner import Call, Reply

KINDS = ("subjects", "subjects_jsonl", "syllabus", "syllabus_extract", "repair", "question", "answer")
"""Kinds of calls."""
MOST_REJECTED = 8
"""So many refusals by the endpoint one after the other end the run: the key or the name is wrong."""


class NotAskedError(ApparatusError):
    """A call has no reply: it failed, or it was not sent."""


def known_reply(ledger: Ledger, call: Call) -> Reply | None:
    """The reply that the ledger holds, or None."""
    entry = ledger.get(call.kind, call.key)
    return _reply(entry.result) if entry is not None and entry.status == "done" else None


class Asking:
    """A teacher behind a ledger and a budget, asked at most `concurrency` things at a time."""

    def __init__(
        self, teacher: ChatModel, ledger: Ledger, budget: Budget, *, concurrency: int, deferred: list[Call] | None = None
    ) -> None:
        """With a list of deferred calls nothing is sent: what would be is put into it, for a provider's batch."""
        self.teacher, self.ledger, self.budget, self.deferred = teacher, ledger, budget, deferred
        self.concurrency = concurrency
        self.slots = Slots(concurrency)
        self.num_asked = 0
        """Calls that were sent in this run."""
        self.num_rejected = 0
        """Refusals by the endpoint since its last reply."""
        self.stopped: str | None = None
        """Why nothing more is sent."""
        self._running: dict[str, asyncio.Event] = {}

    async def ask(self, call: Call) -> Reply:
        """The reply, from the ledger or from the teacher; raises NotAskedError."""
        while call.key in self._running:
            await self._running[call.key].wait()
        known = known_reply(self.ledger, call)
        if known is not None:
            return known
        self._running[call.key] = asyncio.Event()
        try:
            async with holding(self.slots):
                return await self._send(call)
        finally:
            self._running.pop(call.key).set()

    async def _send(self, call: Call) -> Reply:
        self.stopped = self.stopped or self.budget.reached
        if self.stopped:
            raise NotAskedError(self.stopped)
        if self.deferred is not None:
            self.deferred.append(call)
            raise NotAskedError("deferred to a batch")
        self.num_asked += 1
        self.budget.spent.calls += 1
        try:
            reply = await self.teacher.chat(call.request)
        except ProviderError as failure:
            raise self._noted(call, failure) from None
        self.num_rejected = 0
        estimate = sum(estimated_tokens(message.text) for message in call.request.messages)
        result = result_of(reply, prompt_tokens=estimate)
        self.budget.spent.add_tokens(result)
        return _reply(self.ledger.put(call.kind, call.key, result).result)

    def _noted(self, call: Call, failure: ProviderError) -> NotAskedError:
        self.ledger.fail(call.kind, call.key, str(failure))
        self.num_rejected = self.num_rejected + 1 if failure.kind == "rejected" else 0
        if self.num_rejected >= MOST_REJECTED:
            self.stopped = f"the teacher refused {MOST_REJECTED} calls one after the other: {failure.message}"
        return NotAskedError(str(failure))


def result_of(reply: ChatReply, *, prompt_tokens: int) -> dict[str, Any]:
    """A reply as the ledger holds it; where the endpoint does not count, tokens are estimated, those of the prompt by the
    caller."""
    counted = reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    return {
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "prompt_tokens": reply.usage.prompt_tokens if counted else prompt_tokens,
        "completion_tokens": reply.usage.completion_tokens if counted else estimated_tokens(reply.text),
        "counted": counted,
    }


def _reply(result: dict[str, Any]) -> Reply:
    return Reply(result["text"], truncated=result["finish_reason"] == "length")
