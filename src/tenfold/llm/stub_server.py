"""A loopback server that speaks the OpenAI chat protocol, answers from a script, and fails on command.

    with StubServer(answer=lambda asked: "42", latency_s=0.03, faults=Faults(0.1)) as server:
        ... base_url=server.base_url ...
        server.requests      every request as it was received, with its pictures, its times and the fault it got

It runs in a thread of its own, listens on 127.0.0.1 only, and parses HTTP by hand, which makes it fast enough for a
thousand requests a second. Faults depend on the request and on how often it came, never on the order of arrival.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

RATE_LIMIT, SERVER, HANG, MALFORMED, NO_CHOICES, TRUNCATED, RESET, REJECTED, TOO_LONG = FAULTS = (
    "rate_limit",  # 429 with Retry-After
    "server",  # 500
    "hang",  # no answer at all until the client gives up
    "malformed",  # 200 with half a JSON object
    "no_choices",  # 200 with JSON that holds no answer
    "truncated",  # fewer bytes than announced
    "reset",  # the connection is cut before the answer
    "rejected",  # 400
    "too_long",  # 400 that says the conversation does not fit
)
TRANSIENT = (RATE_LIMIT, SERVER, HANG, MALFORMED, NO_CHOICES, TRUNCATED, RESET)


@dataclass
class Asked:
    """One request as the server saw it."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    started: float
    """Seconds of `time.monotonic` when it was wholly received."""
    attempt: int = 0
    """How many equal requests came before it."""
    fault: str | None = None
    finished: float | None = None
    """When the answer, or the fault, was sent; None while it hangs."""

    @cached_property
    def digest(self) -> str:
        """Names the body, pictures included."""
        return hashlib.sha256(json.dumps(self.body, sort_keys=True).encode()).hexdigest()

    @cached_property
    def images(self) -> tuple[bytes, ...]:
        """The bytes of every picture, in order; a `data:` URI that is not base64 raises ValueError."""
        parts = [p for m in self.body.get("messages", ()) if isinstance(m["content"], list) for p in m["content"]]
        return tuple(_picture(part["image_url"]["url"]) for part in parts if part["type"] == "image_url")

    @property
    def text(self) -> str:
        """The text of the last user's message."""
        content = next(m["content"] for m in reversed(self.body["messages"]) if m["role"] == "user")
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


Answer = Callable[[Asked], str | dict[str, Any]] | Sequence[str] | str
"""From a request to its text, or to a whole reply object; a list is used up in order of arrival."""
FaultOf = Callable[[Asked], str | None]


@dataclass(frozen=True)
class Faults:
    """A share of the requests fails, each for a reason drawn from its own content and attempt."""

    share: float
    kinds: Sequence[str] = TRANSIENT
    seed: int = 0

    def __call__(self, asked: Asked) -> str | None:
        digest = hashlib.sha256(f"{self.seed}/{asked.digest}/{asked.attempt}".encode()).digest()
        if int.from_bytes(digest[:8], "big") / 2**64 >= self.share:
            return None
        return self.kinds[int.from_bytes(digest[8:16], "big") % len(self.kinds)]


def first_attempts(kind: str, times: int = 1) -> FaultOf:
    """Every request fails `times` times in this way, then is answered."""
    return lambda asked: kind if asked.attempt < times else None


@dataclass
class StubServer:
    """The server; use it as a context manager."""

    answer: Answer = "ok"
    latency_s: float = 0.0
    faults: FaultOf | Sequence[str | None] | None = None
    """From a request to its fault, or the faults of the first requests in order of arrival."""
    retry_after: str | None = "0"
    """The header that goes with a 429."""
    api_key: str | None = None
    """The only key that is let in; None lets everyone in."""
    logprobs: Mapping[str, float] = field(default_factory=dict)
    """What `top_logprobs` lists, likeliest first, cut to the number asked for."""
    usage: Mapping[str, Any] = field(
        default_factory=lambda: {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    )
    requests: list[Asked] = field(default_factory=list)
    _seen: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> "StubServer":
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="stub server", daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def answered(self) -> Counter[str]:
        """How often each request, by digest, got a whole answer."""
        return Counter(asked.digest for asked in self.requests if asked.fault is None and asked.finished is not None)

    @property
    def num_faults(self) -> Counter[str]:
        """How often each fault was injected."""
        return Counter(asked.fault for asked in self.requests if asked.fault)

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        connections: set[_Connection] = set()
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Connection(self, connections), "127.0.0.1", 0, backlog=1024)
        )
        self.port: int = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        for connection in list(connections):
            connection.transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(server.wait_closed())
        self._loop.close()

    def receive(self, asked: Asked) -> None:
        """Records a chat request and decides its fault."""
        asked.attempt = self._seen[asked.digest]
        self._seen[asked.digest] += 1
        number = len(self.requests)
        self.requests.append(asked)
        if callable(self.faults):
            asked.fault = self.faults(asked)
        elif self.faults is not None and number < len(self.faults):
            asked.fault = self.faults[number]

    def reply(self, asked: Asked) -> dict[str, Any]:
        """The whole reply object."""
        if isinstance(self.answer, str):
            answer: str | dict[str, Any] = self.answer
        elif callable(self.answer):
            answer = self.answer(asked)
        else:
            answer = self.answer[len(self.answered) % len(self.answer)]
        if isinstance(answer, dict):
            return answer
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": answer},
        }
        if asked.body.get("logprobs"):
            top = list(self.logprobs.items())[: asked.body.get("top_logprobs", 0)]
            ranked = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in top]
            choice["logprobs"] = {"content": [{"token": answer, "logprob": 0.0, "bytes": None, "top_logprobs": ranked}]}
        return _envelope(asked, "chat.completion") | {"choices": [choice], "usage": dict(self.usage)}


class _Connection(asyncio.Protocol):
    """One client's connection: requests one after the other."""

    transport: asyncio.Transport

    def __init__(self, server: StubServer, connections: "set[_Connection]") -> None:
        self.server, self.connections = server, connections
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, blank, rest = self.received.partition(b"\r\n\r\n")
        if not blank:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) >= length:
            self.received = rest[length:]
            self._route(first.split(" ")[1], headers, rest[:length])

    def _route(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        if self.server.api_key and headers.get("authorization") != f"Bearer {self.server.api_key}":
            return self._error(401, "wrong key")
        if path == "/v1/models":
            return self._send(200, {"object": "list", "data": [{"id": "stub", "object": "model", "owned_by": "tests"}]})
        if path != "/v1/chat/completions":
            return self._error(404, f"no such path: {path}")
        try:
            asked = Asked(path, headers, json.loads(body), time.monotonic())
            assert asked.body["messages"] and asked.images is not None
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            return self._error(400, f"unreadable request: {error!r}")
        self.server.receive(asked)
        if asked.fault != HANG:
            asyncio.get_running_loop().call_later(self.server.latency_s, self._answer, asked)
        return None

    def _answer(self, asked: Asked) -> None:
        asked.finished = time.monotonic()
        if asked.fault:
            return self._fail(asked)
        if asked.body.get("stream"):
            return self._stream(asked)
        return self._send(200, self.server.reply(asked))

    def _fail(self, asked: Asked) -> None:
        whole = json.dumps(self.server.reply(asked)).encode()
        if asked.fault == RATE_LIMIT:
            extra = "" if self.server.retry_after is None else f"Retry-After: {self.server.retry_after}\r\n"
            self._error(429, "too many requests", extra=extra)
        elif asked.fault == SERVER:
            self._error(500, "injected failure")
        elif asked.fault == TOO_LONG:
            self._error(400, "This model's maximum context length is 64 tokens; your messages have more.")
        elif asked.fault == REJECTED:
            self._error(400, "injected refusal")
        elif asked.fault == MALFORMED:
            self._send(200, whole[: len(whole) // 2])
        elif asked.fault == NO_CHOICES:
            self._send(200, {"object": "chat.completion"})
        elif asked.fault == TRUNCATED:
            self._send(200, whole[: len(whole) // 2], announced=len(whole))
            self.transport.close()
        else:
            assert asked.fault == RESET, asked.fault
            self.transport.abort()

    def _error(self, status: int, message: str, *, extra: str = "") -> None:
        self._send(status, {"error": {"message": message, "type": "stub", "code": None}}, extra=extra)

    def _send(self, status: int, content: bytes | dict[str, Any], *, announced: int | None = None, extra: str = "") -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        length = len(body) if announced is None else announced
        head = f"HTTP/1.1 {status} stub\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{extra}\r\n"
        if not self.transport.is_closing():
            self.transport.write(head.encode() + body)

    def _stream(self, asked: Asked) -> None:
        """Server-sent events, a word each; the connection's end is the body's end."""
        reply = self.server.reply(asked)
        words = reply["choices"][0]["message"]["content"].split(" ")
        texts = [word if place == 0 else f" {word}" for place, word in enumerate(words)]
        chunks = [{"index": 0, "delta": {"content": text}, "finish_reason": None} for text in texts]
        chunks.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        events = [_envelope(asked, "chat.completion.chunk") | {"choices": [chunk]} for chunk in chunks]
        if (asked.body.get("stream_options") or {}).get("include_usage"):
            events.append(_envelope(asked, "chat.completion.chunk") | {"choices": [], "usage": dict(self.server.usage)})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        self.transport.write((head + "".join(lines)).encode())
        self.transport.close()


def _envelope(asked: Asked, kind: str) -> dict[str, Any]:
    return {"id": "stub", "object": kind, "created": 0, "model": asked.body.get("model", "stub")}


def _picture(uri: str) -> bytes:
    head, comma, data = uri.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise ValueError(f"a picture is not a base64 data URI: {uri[:40]!r}")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a picture's base64 is broken: {error}") from None
