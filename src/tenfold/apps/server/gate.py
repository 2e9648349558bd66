"""What stands before every route: who may ask, how large a body may be, what counts as text; and a count of the replies."""

import asyncio
import hmac
from collections.abc import Sequence
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenfold.apps.server.failures import RefusalError
from tenfold.apps.server.metrics import Metrics
from tenfold.core.errors import ConfigError, MissingArtifactError

GUARDED = "/v1/"
"""Routes that want a key, if there are keys."""
READ_S = 60.0
"""How long a client may take to send a body."""


class Gate:
    """An ASGI middleware; refuses in OpenAI's form."""

    def __init__(self, app: ASGIApp, *, keys: Sequence[str], max_body_bytes: int, metrics: Metrics) -> None:
        self.app, self.max_body_bytes, self.metrics = app, max_body_bytes, metrics
        self.keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 499  # as long as no reply has begun: the client has gone

        async def watch(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            try:
                checked = await self._checked(scope, receive)
            except RefusalError as failure:
                await failure.response()(scope, receive, watch)
            else:
                await self.app(scope, checked, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self.metrics.replies.labels(route, str(status)).inc()

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        """The same request with its body read, or a refusal."""
        headers = Headers(scope=scope)
        if scope["path"].startswith(GUARDED):
            self._check_key(headers.get("authorization", ""))
        if scope["method"] != "POST":
            return receive
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise RefusalError(415, "the body has to be JSON; send it with Content-Type: application/json")
        if headers.get("content-length", "0").isdigit() and int(headers.get("content-length", "0")) > self.max_body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(READ_S):
                body = await self._read(receive)
        except TimeoutError:
            raise RefusalError(408, f"the body did not come within {READ_S:g} s; send it at once") from None
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise RefusalError(
                400, f"the body is no UTF-8: byte {error.start} is 0x{body[error.start]:02x}; encode the JSON as UTF-8"
            ) from None
        return _replayed(body, receive)

    async def _read(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusalError(400, "the body ended before it was whole")
            body += message.get("body", b"")
            if len(body) > self.max_body_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return bytes(body)

    def _check_key(self, authorization: str) -> None:
        scheme, _, key = authorization.partition(" ")
        given = key.strip().encode() if scheme.lower() == "bearer" else b""
        known = [hmac.compare_digest(given, each) for each in self.keys]  # all of them: time must not tell which
        if self.keys and not any(known):
            raise RefusalError(
                401,
                "this server wants an API key; send Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _too_large(self) -> RefusalError:
        return RefusalError(413, f"the body is larger than {self.max_body_bytes} bytes; send a shorter one")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then whatever comes after it: the news that the client has gone."""
    rest = [body]

    async def again() -> Message:
        return {"type": "http.request", "body": rest.pop(), "more_body": False} if rest else await receive()

    return again


def read_keys(path: Path | None) -> list[str]:
    """The keys of a file, one per line; none without a file. Empty lines and lines that begin with # say nothing.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: the file holds no key.
    """
    if path is None:
        return []
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (FileNotFoundError, IsADirectoryError):
        raise MissingArtifactError(f"no file {str(path)!r}; give a file with one API key per line") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"{path} holds no API key; write one per line, or leave out --api-keys to let anybody ask")
    return keys
