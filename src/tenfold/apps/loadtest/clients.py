"""What one client does: asks and reads a stream, goes away in the middle, or sends something that cannot be answered."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from tenfold.apps.loadtest.servers import Server

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
MALFORMED: tuple[bytes, ...] = (
    b"",
    b"{",
    b'{"model": "\xff\xfe"}',
    b'{"messages": "hello"}',
    b"[" * 5_000,
    b'{"model": 5, "messages": [{"role": "user", "content": "\\ud800"}]}',
)


@dataclass(frozen=True)
class Streamed:
    """A stream as its client saw it."""

    text: str
    first_s: float | None
    """From the request to the first text."""
    total_s: float
    is_whole: bool
    """Whether it ended by itself."""


@dataclass(frozen=True)
class Asker:
    """Asks one server greedily for answers of a given length."""

    client: httpx.AsyncClient
    server: Server
    max_tokens: int

    def body(self, prompt: str) -> dict[str, Any]:
        return {
            "model": self.server.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stream": True,
        }

    async def stream(self, prompt: str, *, leaves: Callable[[int], bool] = lambda _: False) -> Streamed:
        """Reads a stream to its end, or until `leaves` says so of the number of its pieces.

        Raises:
            httpx.HTTPError: the server did not answer as it should.
        """
        start, first, text, num_pieces = time.perf_counter(), None, "", 0
        url = self.server.url + CHAT
        async with self.client.stream("POST", url, json=self.body(prompt)) as reply:
            reply.raise_for_status()
            async for line in reply.aiter_lines():
                piece = _piece(line)
                if piece:
                    first = first or time.perf_counter() - start
                    text, num_pieces = text + piece, num_pieces + 1
                if leaves(num_pieces):
                    return Streamed(text, first, time.perf_counter() - start, is_whole=False)
        return Streamed(text, first, time.perf_counter() - start, is_whole=True)

    async def malformed(self, number: int) -> int:
        """The status that a body gets which is no request."""
        content = MALFORMED[number % len(MALFORMED)]
        return (await self.client.post(self.server.url + CHAT, content=content, headers=JSON)).status_code

    async def oversized(self, prompt: str, num_characters: int) -> int:
        """The status that a prompt gets which does not fit."""
        long = (prompt * (num_characters // len(prompt) + 1))[:num_characters]
        return (await self.client.post(self.server.url + CHAT, json=self.body(long))).status_code


def _piece(line: str) -> str:
    """The text that a line of a stream brings.

    Raises:
        httpx.RemoteProtocolError: the line tells a failure.
    """
    if not line.startswith("data: {"):
        return ""
    chunk = json.loads(line[6:])
    if "error" in chunk:
        raise httpx.RemoteProtocolError(f"the stream failed: {chunk['error']}")
    choices = chunk.get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""
