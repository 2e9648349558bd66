"""Request bodies, read by hand so that whatever comes in gets one clear line: size, UTF-8, JSON, then the keys."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tenfold.core.config import first_problem

MOST_BYTES = 2_000_000
MOST_INPUTS = 64
Body = TypeVar("Body", bound=BaseModel)


class RequestError(Exception):
    """A request that cannot be served, with its HTTP status."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def body(self) -> dict[str, Any]:
        """In the form that OpenAI's clients read."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": None, "code": self.code}}


class TextPart(BaseModel):
    """A piece of an input."""

    model_config = ConfigDict(extra="allow")
    type: str
    text: str | None = None


class ModerationBody(BaseModel):
    """What OpenAI's moderation endpoint takes."""

    model_config = ConfigDict(extra="ignore")
    input: str | list[str] | list[TextPart]
    model: str | None = None

    def texts(self) -> list[str]:
        """The texts to judge; parts of one input are one text."""
        if isinstance(self.input, str):
            return [self.input]
        parts = [part for part in self.input if isinstance(part, TextPart)]
        if not parts:
            return [part for part in self.input if isinstance(part, str)]
        if other := next((part.type for part in parts if part.type != "text" or part.text is None), None):
            raise RequestError(400, f"an input part is of type {other!r}; only text is judged here")
        return ["\n".join(str(part.text) for part in parts)]


class CheckBody(BaseModel):
    """A request to /v1/guard/check."""

    model_config = ConfigDict(extra="forbid")
    query: str = ""
    response: str
    rules: list[str] = Field(default_factory=list, max_length=MOST_INPUTS)
    lang: Literal["en", "zh"] | None = None
    explain: bool = False
    spans: bool = False
    alpha: float | None = Field(None, gt=0, lt=1)


class ChatBody(BaseModel):
    """What of a chat request the proxy looks at; the rest passes through."""

    model_config = ConfigDict(extra="allow")
    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False


async def read_body(stream: AsyncIterator[bytes], body_type: type[Body]) -> Body:
    """The body, checked.

    Raises:
        RequestError: 413 too large, 400 anything else that is wrong with it.
    """
    content = b""
    async for chunk in stream:
        content += chunk
        if len(content) > MOST_BYTES:
            raise RequestError(413, f"the request is larger than {MOST_BYTES} bytes; send less at once")
    try:
        table = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RequestError(400, f"the request is not UTF-8 (byte {error.start}); encode it as UTF-8") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise RequestError(400, f"the request is not JSON ({str(error)[:120]})") from None
    if not isinstance(table, Mapping):
        raise RequestError(400, "the request is not a JSON object")
    try:
        return body_type.model_validate(table)
    except ValidationError as error:
        raise RequestError(400, _short(first_problem(error))) from None


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a chat message, whose content is a string or a list of parts.

    Raises:
        RequestError: it has parts other than text.
    """
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise RequestError(400, "a message's content is neither a string nor a list of parts")
    if other := next((part.get("type") for part in content if part.get("type") != "text"), None):
        raise RequestError(400, f"a message has a part of type {other!r}; only text is guarded here")
    return "\n".join(str(part.get("text", "")) for part in content)


def _short(message: str) -> str:
    """Never echoes a whole text back."""
    return message if len(message) <= 300 else f"{message[:200]} ... {message[-80:]}"
