"""The protocol of a chat model: a frozen request goes in, a frozen reply or a typed failure comes out.

    ChatModel.chat(ChatRequest) -> ChatReply        raises ProviderError, and nothing else, when the apparatus fails

A request says everything on which the answer depends, so its digest together with the model's fingerprint names the
answer. Images count by their bytes: one changed byte is another request.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from tenfold.core.config import canonical_json
from tenfold.core.errors import ApparatusError

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "content_filter"]
FailureKind = Literal["rate_limit", "server", "timeout", "connection", "malformed", "too_long", "rejected", "unsupported"]
TRANSIENT: frozenset[FailureKind] = frozenset({"rate_limit", "server", "timeout", "connection", "malformed"})
"""Kinds of failure that may be gone when the same request is sent again."""


class ProviderError(ApparatusError):
    """The model could not be asked, or its reply could not be read; never scored as the model's own failure."""

    def __init__(self, kind: FailureKind, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind: FailureKind = kind
        """rate_limit (429), server (5xx), timeout, connection (lost before the reply was whole), malformed (a reply that
        cannot be read), too_long (the conversation does not fit into the model), rejected (the endpoint refuses this
        request or this key), unsupported (nothing was sent)."""
        self.message = message
        self.retry_after_s = retry_after_s
        """How long the endpoint asks us to wait, where it said so."""


@dataclass(frozen=True)
class Image:
    """A picture by its bytes."""

    data: bytes = field(repr=False)
    mime: str = "image/png"

    @cached_property
    def sha256(self) -> str:
        """64 hexadecimal digits of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def data_uri(self) -> str:
        """The picture as a `data:` URI, as OpenAI-compatible endpoints take it."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Message:
    """One turn: text and pictures in the order in which they are read."""

    role: Role
    parts: tuple[str | Image, ...]

    @property
    def text(self) -> str:
        """The turn's text without its pictures."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(part for part in self.parts if isinstance(part, Image))


def system(text: str) -> Message:
    """A system message."""
    return Message("system", (text,))


def user(*parts: str | Image) -> Message:
    """A user's message of texts and pictures."""
    return Message("user", parts)


def assistant(text: str) -> Message:
    """An assistant's message."""
    return Message("assistant", (text,))


@dataclass(frozen=True)
class ChatRequest:
    """Everything on which an answer depends, but for the model itself."""

    messages: tuple[Message, ...]
    """The conversation; without any, `answer_prefix` is continued as bare text, which only local models can do."""
    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: dict[str, Any] | None = None
    """The reply must be JSON of this schema; local models decode under its grammar."""
    candidates: tuple[str, ...] = ()
    """Score these strings as continuations instead of generating; see `ChatReply.candidate_logprobs`."""
    answer_prefix: str = ""
    """What the assistant has already begun to say; candidates continue it."""

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures of all messages, in the order in which they are read."""
        return tuple(image for message in self.messages for image in message.images)

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits that name the request; pictures count by the checksum of their bytes."""
        messages = [
            [m.role, [p if isinstance(p, str) else {"image": p.sha256, "mime": p.mime} for p in m.parts]]
            for m in self.messages
        ]
        rest = [
            self.max_tokens,
            float(self.temperature),
            float(self.top_p),
            self.seed,
            self.stop,
            json.dumps(self.json_schema),  # unsorted: the order of its properties is the order in the answer
            self.candidates,
            self.answer_prefix,
        ]
        return hashlib.sha256(canonical_json([messages, rest]).encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Usage:
    """Tokens of one call; `reasoning_tokens` are part of `completion_tokens`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True)
class ChatReply:
    """An answer. `finish_reason` is `length` where the budget cut it off."""

    text: str
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    reasoning: str = ""
    """Reasoning that the endpoint delivered apart from the answer."""
    candidate_logprobs: tuple[float | None, ...] = ()
    """Natural-log probability of each candidate, summed over its tokens; None where the endpoint cannot rank it."""
    candidate_tokens: tuple[int, ...] = ()
    """Tokens in each candidate, where known."""
    cached: bool = False
    """Whether the answer came from a cache, so that nothing was asked."""


class ChatModel(Protocol):
    """Whoever answers."""

    @property
    def name(self) -> str:
        """As the user wrote it: `smollm2`, `openai:NAME`."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names the very weights as far as that is known: a checksum for local models, address and name for endpoints."""
        ...

    @property
    def takes_images(self) -> bool:
        """Whether a request may hold pictures; False is certain, True may be a hope (an endpoint)."""
        ...

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Answers one request.

        Raises:
            ProviderError: the apparatus failed.
        """
        ...
