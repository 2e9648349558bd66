"""Server-sent events: a stream of JSON chunks that ends with [DONE], or with the failure that ended it."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tenfold.apps.server.answers import Piece
from tenfold.apps.server.bodies import StreamOptions
from tenfold.apps.server.failures import known
from tenfold.apps.server.forms import Form, usage

DONE = b"data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """Sends events as they come; however that ends, `on_end` is called, even if the client has gone before the first."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes], on_end: Callable[[], None]) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self.events, self.on_end = events, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.on_end()

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self.events):
            await super().stream_response(send)


async def events(
    form: Form, pieces: AsyncGenerator[Piece], *, num_prompt: int, num_choices: int, extras: StreamOptions
) -> AsyncGenerator[bytes]:
    """The events of a whole reply."""
    num_tokens = 0
    try:
        for opening in _openings(form, num_choices):
            yield opening
        async with aclosing(pieces):
            async for piece in pieces:
                num_tokens += piece.num_tokens
                if piece.spans or piece.finish_reason is not None:
                    yield event(form.chunk(piece, with_sources=extras.include_sources))
    except Exception as failure:  # the reply has begun: what ends it is told in its stream
        yield event(known(failure).body)
        return
    if extras.include_usage:
        yield event(form.closing(usage(num_prompt, num_tokens)))
    yield DONE


def event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _openings(form: Form, num_choices: int) -> Sequence[bytes]:
    return [event(opening) for choice in range(num_choices) if (opening := form.opening(choice)) is not None]
