"""The calls of one model within a run: each reply is a row before the next call is made, so a killed run repeats none.

Failed calls are logged and not kept: a resumed run asks them again, and a failure is never scored as the model's.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from itertools import count
from typing import Any

from tenfold.core.errors import ApparatusError
from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError, Usage
from tenfold.llm.many import ask_all
from tenfold.store.progress import counter
from tenfold.store.runs import Run

Outstanding = Callable[[], Iterable[ChatRequest]]
"""The requests that are still to be made, given the replies so far."""


class Calls:
    """A model by name, opened when the first call is due, and its replies by the digest of their requests.

    Args:
        name: of the model, as the user wrote it; part of every row's key.
        run: keeps the replies.
        opener: opens the model.
        concurrency: calls that may be under way at a time.
    """

    def __init__(self, name: str, run: Run, opener: Callable[[], ChatModel], *, concurrency: int = 1) -> None:
        self.name = name
        self.run = run
        self.opener = opener
        self.concurrency = concurrency
        rows = (row for row in run.rows.values() if row.get("kind") == "call" and row["model"] == name)
        self.replies: dict[str, ChatReply] = {row["digest"]: _reply(row) for row in rows}
        self.failures: dict[str, str] = {}

    @cached_property
    def model(self) -> ChatModel:
        return self.opener()

    def ask_until_done(self, outstanding: Outstanding, label: str) -> None:
        """Asks round by round until every conversation has ended or failed.

        Raises:
            ApparatusError: not one call succeeded.
        """
        while todo := self._todo(outstanding):
            self.ask(todo, label)
            self.check_some_success()

    def ask(self, requests: Mapping[str, ChatRequest], label: str) -> None:
        """Asks what has no reply yet; the mapping is from digest to request."""
        todo = {digest: request for digest, request in requests.items() if digest not in self.replies}
        if not todo:
            return
        done = count(1)
        with counter(f"{label} to {self.name}", len(todo)) as advance:

            def on_reply(digest: str, reply: ChatReply | ProviderError) -> None:
                self._keep(digest, reply)
                advance(next(done))

            asyncio.run(ask_all(self.model, todo, concurrency=self.concurrency, on_reply=on_reply))

    def check_some_success(self) -> None:
        """ApparatusError if calls failed and none succeeded."""
        if self.failures and not self.replies:
            first = next(iter(self.failures.values()))
            raise ApparatusError(f"no call to {self.name!r} succeeded; the first failure: {first}")

    @property
    def cost(self) -> dict[str, int]:
        """Calls made and tokens read and written, over the whole run."""
        usages = [reply.usage for reply in self.replies.values()]
        return {
            "calls": len(self.replies),
            "failed_calls": len(self.failures),
            "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
            "completion_tokens": sum(usage.completion_tokens for usage in usages),
        }

    def _todo(self, outstanding: Outstanding) -> dict[str, ChatRequest]:
        waiting = (request for request in outstanding() if request.digest not in self.failures)
        return {request.digest: request for request in waiting if request.digest not in self.replies}

    def _keep(self, digest: str, reply: ChatReply | ProviderError) -> None:
        if isinstance(reply, ProviderError):
            self.failures[digest] = str(reply)
            self.run.log(f"call {digest[:12]} to {self.name} failed: {reply}")
            return
        self.replies[digest] = reply
        self.run.add(f"call/{self.name}/{digest}", {"kind": "call", "model": self.name, "digest": digest, **_record(reply)})


def _record(reply: ChatReply) -> dict[str, Any]:
    return {
        "text": reply.text,
        "finish": reply.finish_reason,
        "reasoning": reply.reasoning,
        "logprobs": list(reply.candidate_logprobs),
        "tokens": list(reply.candidate_tokens),
        "usage": [reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.reasoning_tokens],
    }


def _reply(row: Mapping[str, Any]) -> ChatReply:
    return ChatReply(
        text=row["text"],
        finish_reason=row["finish"],
        usage=Usage(*row["usage"]),
        reasoning=row["reasoning"],
        candidate_logprobs=tuple(row["logprobs"]),
        candidate_tokens=tuple(row["tokens"]),
    )
