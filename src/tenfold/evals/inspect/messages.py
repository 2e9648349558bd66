"""Inspect's messages and settings as a `ChatRequest`; a `ChatReply` as Inspect's output.

Candidate strings travel in `GenerateConfig.extra_body` under the two keys below; their log-probabilities come back in
`ModelOutput.metadata`. A setting that a `ChatModel` cannot honour is refused, never dropped in silence.
"""

import base64
from collections.abc import Sequence
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
    StopReason,
)

from tenfold.core.errors import ConfigError
from tenfold.llm.chat import ChatReply, ChatRequest, FinishReason, Image, Message

CANDIDATES = "tenfold_candidates"
ANSWER_PREFIX = "tenfold_answer_prefix"
DEFAULT_MAX_TOKENS = 1024

HONOURED = {"max_tokens", "temperature", "top_p", "seed", "stop_seqs", "response_schema", "extra_body"}
LEFT_TO_INSPECT = {
    *("max_retries", "timeout", "attempt_timeout", "stream_idle_timeout", "max_connections", "adaptive_connections"),
    *("system_message", "cache", "cache_prompt", "fail_on_refusal", "reasoning_history", "max_tool_output"),
}
STOP_REASONS: dict[FinishReason, StopReason] = {
    "stop": "stop",
    "length": "max_tokens",
    "content_filter": "content_filter",
}


def to_request(messages: Sequence[ChatMessage], config: GenerateConfig) -> ChatRequest:
    """The request that these messages and settings ask for.

    Raises:
        ConfigError: a setting, a message of a tool, or a medium that a `ChatModel` does not take.
    """
    _refuse_unknown(config)
    extra = config.extra_body or {}
    return ChatRequest(
        messages=tuple(_message(message) for message in messages),
        max_tokens=DEFAULT_MAX_TOKENS if config.max_tokens is None else config.max_tokens,
        temperature=0.0 if config.temperature is None else config.temperature,
        top_p=1.0 if config.top_p is None else config.top_p,
        seed=config.seed,
        stop=tuple(config.stop_seqs or ()),
        json_schema=_schema(config),
        candidates=tuple(extra.get(CANDIDATES, ())),
        answer_prefix=extra.get(ANSWER_PREFIX, ""),
    )


def to_output(reply: ChatReply, *, model: str, fingerprint: str) -> ModelOutput:
    """The reply as Inspect keeps it; `metadata` names the weights and holds the candidates' log-probabilities."""
    text = ContentText(text=reply.text)
    content: str | list[Content] = [ContentReasoning(reasoning=reply.reasoning), text] if reply.reasoning else reply.text
    message = ChatMessageAssistant(content=content, model=model, source="generate")
    metadata: dict[str, Any] = {"fingerprint": fingerprint}
    if reply.candidate_logprobs:
        metadata["candidate_logprobs"] = list(reply.candidate_logprobs)
        metadata["candidate_tokens"] = list(reply.candidate_tokens)
    return ModelOutput(
        model=model,
        choices=[ChatCompletionChoice(message=message, stop_reason=STOP_REASONS[reply.finish_reason])],
        usage=_usage(reply),
        metadata=metadata,
    )


def _usage(reply: ChatReply) -> ModelUsage:
    usage = reply.usage
    return ModelUsage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def _refuse_unknown(config: GenerateConfig) -> None:
    given = {name for name, value in config if value is not None}
    unknown = sorted(given - HONOURED - LEFT_TO_INSPECT)
    extra = sorted(set(config.extra_body or {}) - {CANDIDATES, ANSWER_PREFIX})
    if unknown or extra:
        named = [*unknown, *(f"extra_body[{key!r}]" for key in extra)]
        accepted = ", ".join(sorted(HONOURED - {"extra_body"}))
        raise ConfigError(
            f"models under tenfold/ do not take {', '.join(named)}; they take {accepted}; leave the others out"
        )


def _schema(config: GenerateConfig) -> dict[str, Any] | None:
    if config.response_schema is None:
        return None
    return config.response_schema.json_schema.model_dump(exclude_none=True, by_alias=True)


def _message(message: ChatMessage) -> Message:
    if message.role == "tool" or (message.role == "assistant" and message.tool_calls):
        raise ConfigError("models under tenfold/ do not take tools; use a task without tools, or another provider")
    if isinstance(message.content, str):
        return Message(message.role, (message.content,))
    parts = tuple(_part(content) for content in message.content if not isinstance(content, ContentReasoning))
    return Message(message.role, parts)


def _part(content: Content) -> str | Image:
    if isinstance(content, ContentText):
        return content.text
    if isinstance(content, ContentImage):
        return read_data_uri(content.image)
    raise ConfigError(f"models under tenfold/ do not take {content.type!r} content; they take text and images")


def read_data_uri(uri: str) -> Image:
    """The picture in a `data:` URI.

    Raises:
        ConfigError: it is another kind of address, or not in base64; a path or link would not bind the bytes.
    """
    header, comma, body = uri.partition(",")
    if not (header.startswith("data:") and header.endswith(";base64") and comma):
        raise ConfigError(f"a picture is given as {uri[:40]!r}; give it as a data: URI in base64")
    try:
        return Image(base64.b64decode(body, validate=True), header.removeprefix("data:").split(";")[0])
    except ValueError as error:
        raise ConfigError(f"the picture {uri[:40]!r} is not base64 ({error}); encode its bytes again") from None
