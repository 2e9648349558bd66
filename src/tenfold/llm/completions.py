"""The chat-completions protocol: a request becomes the JSON that is sent, the JSON that returns becomes a reply.

Pure functions, no network. Servers differ, so reading is lenient about what they add or leave out, and strict about
the one thing that matters: without a choice that holds a message there is no answer.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.llm.chat import ChatReply, ChatRequest, FinishReason, Message, ProviderError, Usage

TOP_LOGPROBS = 20
"""Most alternatives per token that the protocol lists."""
IMPOSSIBLE = -9999.0
"""What OpenAI writes for tokens too unlikely to be ranked."""
FINISH_REASONS: Mapping[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
TOO_LONG = re.compile(
    r"context[_ ]length|context (?:window|size)|maximum (?:context|number of tokens|model length)|"
    r"(?:prompt|input|request)\b.{0,40}\b(?:is|are) (?:too long|longer than)|too many (?:input |prompt )?tokens",
    re.IGNORECASE,
)
"""How endpoints say that a conversation does not fit."""
BROKEN_OFF = {"error", "abort"}
"""What routers and vLLM write where the answer broke off for a reason of their own, with status 200."""


def payload(model: str, request: ChatRequest, *, is_openai: bool) -> dict[str, Any]:
    """The body of a request.

    Raises:
        ProviderError: unsupported: bare text, or, at OpenAI's own endpoint, an answer that has begun.
    """
    if not request.messages:
        raise ProviderError("unsupported", "chat endpoints cannot continue bare text; use a local model")
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message) for message in request.messages],
        # local servers know only the older name, OpenAI's reasoning models only the newer one
        "max_completion_tokens" if is_openai else "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    }
    if request.top_p != 1:
        body["top_p"] = request.top_p
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if request.json_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": request.json_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.answer_prefix:
        _begin_answer(body, request.answer_prefix, is_openai=is_openai)
    if request.candidates:
        _ask_for_ranks(body)
    return body


def read(text: str, request: ChatRequest) -> ChatReply:
    """The reply in the body of an answer.

    Raises:
        ProviderError: malformed: not JSON, or without a choice that holds a message; server: the answer broke off.
    """
    body = _parsed(text)
    choice, message = _first_choice(body)
    reason = str(choice.get("finish_reason"))
    if reason in BROKEN_OFF:
        told = choice.get("error") or body.get("error") or "no reason given"
        raise ProviderError("server", f"the answer broke off (finish_reason {reason!r}): {str(told)[:300]}")
    if request.candidates:
        return _ranked(choice, request.candidates, _usage(body))
    return ChatReply(
        text=_content(message),
        finish_reason=FINISH_REASONS.get(reason, "stop"),
        usage=_usage(body),
        reasoning=str(message.get("reasoning_content") or message.get("reasoning") or ""),
    )


def is_too_long(status: int, told: str) -> bool:
    """Whether a refusal, by its status and words, means that the conversation does not fit into the model."""
    return status in (400, 413, 422) and TOO_LONG.search(told) is not None


def _message(message: Message) -> dict[str, Any]:
    if not message.images:
        return {"role": message.role, "content": message.text}
    parts = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": part.data_uri}}
        for part in message.parts
    ]
    return {"role": message.role, "content": parts}


def _begin_answer(body: dict[str, Any], prefix: str, *, is_openai: bool) -> None:
    """vLLM and SGLang continue a last assistant message when told to; llama.cpp and Ollama do so by themselves."""
    if is_openai:
        raise ProviderError("unsupported", "this endpoint cannot continue a begun answer; leave answer_prefix empty")
    body["messages"].append({"role": "assistant", "content": prefix})
    body |= {"continue_final_message": True, "add_generation_prompt": False}


def _ask_for_ranks(body: dict[str, Any]) -> None:
    """One token with its alternatives; at temperature 1, since some servers rank after dividing by the temperature."""
    body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS, "temperature": 1.0}
    body["max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"] = 1
    for warped in ("top_p", "stop"):
        body.pop(warped, None)


def _parsed(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProviderError("malformed", f"the reply is not JSON ({error}): {text[:80]!r}") from None
    if not isinstance(body, dict):
        raise ProviderError("malformed", f"the reply is no JSON object: {text[:80]!r}")
    return body


def _first_choice(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        told = body.get("error") or f"its keys are {', '.join(body) or 'none'}"
        raise ProviderError("malformed", f"the reply holds no message; {told}")
    return choice, message


def _content(message: Mapping[str, Any]) -> str:
    """The text; a list of parts is joined, and a refusal counts as what was said."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    text = content or message.get("refusal") or ""
    if not isinstance(text, str):
        raise ProviderError("malformed", f"the message's content is no text: {str(text)[:80]}")
    return text


def _usage(body: Mapping[str, Any]) -> Usage:
    usage = _mapping(body.get("usage"))
    details = _mapping(usage.get("completion_tokens_details"))
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        reasoning_tokens=_count(details.get("reasoning_tokens")),
    )


def _ranked(choice: Mapping[str, Any], candidates: Sequence[str], usage: Usage) -> ChatReply:
    """The candidates' places among the listed tokens; the text is the likeliest candidate's.

    Raises:
        ProviderError: unsupported: the endpoint lists no alternatives.
    """
    tokens = _mapping(choice.get("logprobs")).get("content")
    first = _mapping(tokens[0]) if isinstance(tokens, list) and tokens else {}
    top = first.get("top_logprobs")
    listed = [_mapping(entry) for entry in top] if isinstance(top, list) else []
    if not listed:
        raise ProviderError("unsupported", "the endpoint lists no log-probabilities, so candidates cannot be scored")
    scores = tuple(_score(candidate, listed) for candidate in candidates)
    known = {text: score for text, score in zip(candidates, scores, strict=True) if score is not None}
    return ChatReply(
        text=max(known, key=lambda text: known[text]) if known else "",
        usage=usage,
        candidate_logprobs=scores,
        candidate_tokens=(1,) * len(candidates) if len(known) == len(candidates) else (),
    )


def _score(candidate: str, listed: Sequence[Mapping[str, Any]]) -> float | None:
    """Log of the summed probability of the listed tokens that are spelled like the candidate; None if there are none."""
    found = [_logprob(entry) for entry in listed if entry.get("token") == candidate]
    found = [logprob for logprob in found if logprob > IMPOSSIBLE]
    if not found:
        return None
    return max(found) + math.log(sum(math.exp(logprob - max(found)) for logprob in found))


def _logprob(entry: Mapping[str, Any]) -> float:
    value = entry.get("logprob")
    return float(value) if isinstance(value, int | float) else IMPOSSIBLE


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
