"""A chat endpoint under guard: the question is judged first, then the answer, which is watched while it is written.

Upstream is any OpenAI-compatible endpoint, spoken to by OpenAI's own client. Where the watch trips, nothing more is sent
and the choice ends with finish_reason `content_filter`.
"""

import json
from collections.abc import AsyncIterator
from typing import Any, Protocol

from tenfold.systems.shieldlm.prompting import language_of
from tenfold.systems.shieldlm.service.bodies import ChatBody, RequestError, text_of
from tenfold.systems.shieldlm.service.guarding import GuardService
from tenfold.systems.shieldlm.stream import StreamGuard

FILTERED = "content_filter"


class Upstream(Protocol):
    """Whoever answers: `openai.AsyncOpenAI` through `OpenAIUpstream`, or a test."""

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """A whole chat completion as its JSON object."""
        ...

    def stream(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a streamed one."""
        ...


class OpenAIUpstream:
    """An OpenAI-compatible endpoint."""

    def __init__(self, client: Any) -> None:
        """`client`: an `openai.AsyncOpenAI`."""
        self.client = client

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        return (await self.client.chat.completions.create(**body)).model_dump(exclude_unset=True)

    async def stream(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async for chunk in await self.client.chat.completions.create(**{**body, "stream": True}):
            yield chunk.model_dump(exclude_unset=True)


async def guarded_reply(service: GuardService, upstream: Upstream, body: ChatBody) -> dict[str, Any]:
    """A whole completion; the text of a choice that is blocked is emptied.

    Raises:
        RequestError: 400 with code content_filter if the question is blocked.
    """
    query = await _checked_question(service, body)
    reply = await upstream.complete(body.model_dump(exclude_unset=True))
    for choice in reply.get("choices", ()):
        text = choice.get("message", {}).get("content") or ""
        if text.strip() and (await service.check(query, text)).decision == "block":
            choice["message"]["content"], choice["finish_reason"] = "", FILTERED
    return reply


async def guarded_stream(service: GuardService, upstream: Upstream, body: ChatBody) -> AsyncIterator[str]:
    """Server-sent events of a completion with one choice; text comes as far as the last look has passed it."""
    query = await _checked_question(service, body)
    if (body.model_extra or {}).get("n", 1) not in (1, None):
        raise RequestError(400, "n is above 1; a guarded stream has one choice")
    watch = StreamGuard(await service.run(service.guard.twin), query, lang=language_of(query))
    last: dict[str, Any] = {}
    reason: str | None = None
    async for chunk in upstream.stream(body.model_dump(exclude_unset=True)):
        last = chunk
        choice = (chunk.get("choices") or [{}])[0]
        text = (choice.get("delta") or {}).get("content") or ""
        reason = choice.get("finish_reason") or reason
        released = await service.run(lambda text=text: watch.feed(text)) if text else ""
        if watch.tripped:
            break
        if released or "role" in (choice.get("delta") or {}):
            yield _event(chunk, released)
    if not watch.tripped:
        rest = await service.run(watch.finish)
        if rest:
            yield _event(last, rest)
    if watch.latest:
        service.record(watch.text, watch.latest)
    yield _event(last, "", FILTERED if watch.tripped else reason or "stop")
    yield "data: [DONE]\n\n"


async def _checked_question(service: GuardService, body: ChatBody) -> str:
    asked = [text_of(message) for message in body.messages if message.get("role") == "user"]
    query = asked[-1] if asked else ""
    if query.strip() and (await service.check("", query)).decision == "block":
        raise RequestError(400, "the question was stopped by the guard", FILTERED)
    return query


def _event(chunk: dict[str, Any], text: str, reason: str | None = None) -> str:
    first = (chunk.get("choices") or [{}])[0]
    delta = {key: value for key, value in (first.get("delta") or {}).items() if key == "role"} if reason is None else {}
    choice = {"index": 0, "delta": {**delta, **({"content": text} if text or delta else {})}, "finish_reason": reason}
    body = {"object": "chat.completion.chunk", **{key: value for key, value in chunk.items() if key != "choices"}}
    return f"data: {json.dumps({**body, 'choices': [choice]}, ensure_ascii=False)}\n\n"
