"""Asking the teacher through the ledger: what was answered once is never asked again, and what was not says why.

A reply is in the ledger before anybody acts on it. Equal calls under way at the same time are asked once. A failed call is
noted with its reason, and asked again in a later run. A reply that the token limit cut off, or an empty one, is asked for
again, under another seed, the last time with twice the limit. A conversation that is too long for the teacher is given up
for good, which whoever asked may answer with a shorter one.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tenfold.core.errors import ApparatusError
from tenfold.core.seeds import derive
from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError
from tenfold.llm.retries import Retrying
from tenfold.llm.slots import Slots, holding
from tenfold.store.ledger import Entry, Ledger
from tenfold.systems.glan.budget import Budget, LimitReachedError, Spending, estimated_tokens
from tenfold.systems.glan.planner import Call, Reply

KINDS = ("subjects", "subjects_jsonl", "syllabus", "syllabus_extract", "repair", "question", "answer")
"""Kinds of calls."""
MOST_REJECTED = 8
"""So many refusals by the endpoint one after the other end the run: the key or the name is wrong."""
AGAIN_WHEN_CUT = 2
TOO_LONG = "too long for the teacher"
MAYBE_BILLED = ("timeout", "connection", "malformed")
"""Failures behind which an endpoint may have written, and billed, a whole reply."""


class NotAskedError(ApparatusError):
    """A call has no reply: it failed, or it was not sent."""


def known_reply(ledger: Ledger, call: Call) -> Reply | None:
    """The reply that the ledger holds, or None."""
    entry = ledger.get(call.kind, call.key)
    if entry is None or entry.status == "failed":
        return None
    return _reply(entry)


class Asking:
    """A teacher behind a ledger and a budget, asked at most `concurrency` things at a time."""

    def __init__(
        self,
        teacher: ChatModel,
        ledger: Ledger,
        budget: Budget,
        *,
        concurrency: int,
        deferred: list[Call] | None = None,
        again_when_cut: int = AGAIN_WHEN_CUT,
    ) -> None:
        """With a list of deferred calls nothing is sent: what would be is put into it, for a provider's batch."""
        self.teacher, self.ledger, self.budget, self.deferred = teacher, ledger, budget, deferred
        self.concurrency = concurrency
        self.again_when_cut = again_when_cut
        """How often a reply without an end is asked for once more."""
        self.slots = Slots(concurrency)
        self.num_asked = 0
        """Calls that were sent in this run."""
        self.num_rejected = 0
        """Refusals by the endpoint since its last reply."""
        self.stopped: str | None = None
        """Why nothing more is sent."""
        self.is_limited = False
        """Whether it is a limit that has stopped the run."""
        self._running: dict[str, asyncio.Event] = {}
        if isinstance(teacher, Retrying):
            teacher.on_failure = self._attempt_failed

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
                return _reply(await self._send(call))
        finally:
            self._running.pop(call.key).set()

    async def _send(self, call: Call) -> Entry:
        if self.stopped:
            raise NotAskedError(self.stopped)
        if self.deferred is not None:
            self.deferred.append(call)
            raise NotAskedError("deferred to a batch")
        result: dict[str, Any] | None = None
        for request in self._attempts(call):
            try:
                last = await self._one(request)
            except ProviderError as failure:
                if result is None:
                    return self._noted(call, failure)
                break  # what there is counts, though it has no end
            except LimitReachedError as limit:
                self.stopped, self.is_limited = str(limit), True
                if result is None:
                    raise NotAskedError(self.stopped) from None
                break
            result = last if result is None else _joined(result, last)
            if last["finish_reason"] != "length" and last["text"].strip():
                break
        assert result is not None, call.key
        return self.ledger.put(call.kind, call.key, result)

    def _attempts(self, call: Call) -> Iterator[ChatRequest]:
        """The call's request, and others for the case that its reply has no end: the last may be twice as long."""
        yield call.request
        for attempt in range(1, self.again_when_cut + 1):
            longer = 2 if attempt == self.again_when_cut else 1
            seed = derive(attempt, call.key) >> 32
            yield replace(call.request, seed=seed, max_tokens=longer * call.request.max_tokens)

    async def _one(self, request: ChatRequest) -> dict[str, Any]:
        """One request, reserved and settled; what came of it."""
        reservation = await self.budget.reserve(request)
        self.num_asked += 1
        try:
            reply = await self.teacher.chat(request)  # whatever else ends it leaves the claim: it may have been billed
        except ProviderError as failure:
            self.budget.settle(reservation, None)
            if not isinstance(self.teacher, Retrying):
                self._attempt_failed(request, failure)
            raise
        self.num_rejected = 0
        result = result_of(reply, prompt_tokens=sum(estimated_tokens(message.text) for message in request.messages))
        self.budget.settle(reservation, result)
        return result

    def _attempt_failed(self, request: ChatRequest, failure: ProviderError) -> None:
        if failure.kind in MAYBE_BILLED and self.budget.is_metered:
            self.budget.lose(request)

    def _noted(self, call: Call, failure: ProviderError) -> Entry:
        """The call as given up for good, where it is too long; else its failure is filed and raised."""
        if failure.kind == "too_long":
            return self.ledger.drop(call.kind, call.key, TOO_LONG)
        self.ledger.fail(call.kind, call.key, str(failure))
        self.num_rejected = self.num_rejected + 1 if failure.kind == "rejected" else 0
        if self.num_rejected >= MOST_REJECTED:
            self.stopped = f"the teacher refused {MOST_REJECTED} calls one after the other: {failure.message}"
        raise NotAskedError(str(failure))


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


def _joined(earlier: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """The last reply, at the price of all."""
    spent = Spending()
    spent.add_tokens(earlier)
    spent.add_tokens(last)
    price = {"prompt_tokens": spent.prompt_tokens, "completion_tokens": spent.completion_tokens}
    return last | price | {"attempts": earlier.get("attempts", 1) + 1}


def _reply(entry: Entry) -> Reply:
    if entry.status == "dropped":
        return Reply("", too_long=True)
    result = entry.result
    return Reply(result["text"], truncated=result["finish_reason"] != "stop")
