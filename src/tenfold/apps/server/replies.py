"""The bodies of replies, as OpenAI's API names them; `speculation` and `sources` are our own additions."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

FinishReason = Literal["stop", "length", "content_filter"]


class _Reply(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Usage(_Reply):
    """Tokens of a request and its answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class SpeculationReport(_Reply):
    """Not OpenAI's: how the answer was decoded. Who guessed matters for speed alone, never for the text."""

    passes: int
    """Passes of the model after the prompt's own."""
    drafted: int
    accepted: int
    tokens_per_pass: float
    prompt_ms: float
    """Time from the row that the answer got to its first token."""
    total_ms: float
    """Time from that row to the last token."""


class ReplyMessage(_Reply):
    """The answer of a chat."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: str | None = None


class ChatChoice(_Reply):
    index: int
    message: ReplyMessage
    finish_reason: FinishReason
    logprobs: None = None
    speculation: SpeculationReport | None = None


class ChatReplyBody(_Reply):
    """The reply to a chat completion."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class CompletionChoice(_Reply):
    index: int
    text: str
    finish_reason: FinishReason
    logprobs: None = None
    speculation: SpeculationReport | None = None


class CompletionReplyBody(_Reply):
    """The reply to a text completion."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class ModelCard(_Reply):
    """One model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "tenfold"
    max_model_len: int


class ModelList(_Reply):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(_Reply):
    """Whether the server can answer, and what it is doing."""

    status: Literal["ok", "broken"]
    model: str
    running: int
    waiting: int


class ErrorDetail(_Reply):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(_Reply):
    """Every failure, in OpenAI's form."""

    error: ErrorDetail
