"""How answers are written down: chunks of a stream and whole replies, for chats and for texts."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tenfold.apps.server.answers import Answer, Piece
from tenfold.apps.server.replies import (
    ChatChoice,
    ChatReplyBody,
    CompletionChoice,
    CompletionReplyBody,
    ReplyMessage,
    Usage,
)


def usage(num_prompt: int, num_answers: int) -> Usage:
    return Usage(prompt_tokens=num_prompt, completion_tokens=num_answers, total_tokens=num_prompt + num_answers)


class Form(Protocol):
    """Writes the answers to one request."""

    def opening(self, choice: int) -> dict[str, Any] | None:
        """What a stream says of an answer before its first piece."""
        ...

    def chunk(self, piece: Piece, *, with_sources: bool) -> dict[str, Any]: ...

    def closing(self, counted: Usage) -> dict[str, Any]:
        """The usage, after everything else."""
        ...

    def whole(self, answers: Sequence[Answer], counted: Usage) -> ChatReplyBody | CompletionReplyBody: ...


@dataclass(frozen=True)
class _Head:
    """What all chunks of a reply have in common."""

    model: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def chunk(self, prefix: str, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **more,
        }


def _choice(piece: Piece, content: dict[str, Any], *, with_sources: bool) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": piece.choice, **content, "finish_reason": piece.finish_reason, "logprobs": None}
    if with_sources:
        choice["sources"] = [{"text": text, "source": source} for text, source in piece.spans]
    if piece.speculation is not None:
        choice["speculation"] = piece.speculation.model_dump()
    return choice


class ChatForm:
    """Chat completions."""

    def __init__(self, model: str) -> None:
        self.head = _Head(model)

    def opening(self, choice: int) -> dict[str, Any]:
        delta = {"role": "assistant", "content": ""}
        return self._chunk([{"index": choice, "delta": delta, "finish_reason": None, "logprobs": None}])

    def chunk(self, piece: Piece, *, with_sources: bool) -> dict[str, Any]:
        delta = {"content": piece.text} if piece.text else {}
        return self._chunk([_choice(piece, {"delta": delta}, with_sources=with_sources)])

    def closing(self, counted: Usage) -> dict[str, Any]:
        return self._chunk([], usage=counted.model_dump())

    def whole(self, answers: Sequence[Answer], counted: Usage) -> ChatReplyBody:
        choices = [
            ChatChoice(
                index=index,
                message=ReplyMessage(content=answer.text),
                finish_reason=answer.finish_reason,
                speculation=answer.speculation,
            )
            for index, answer in enumerate(answers)
        ]
        head = self.head
        return ChatReplyBody(
            id=f"chatcmpl-{head.id}", created=head.created, model=head.model, choices=choices, usage=counted
        )

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return self.head.chunk("chatcmpl", "chat.completion.chunk", choices, **more)


class TextForm:
    """Text completions."""

    def __init__(self, model: str) -> None:
        self.head = _Head(model)

    def opening(self, choice: int) -> None:
        return None

    def chunk(self, piece: Piece, *, with_sources: bool) -> dict[str, Any]:
        return self._chunk([_choice(piece, {"text": piece.text}, with_sources=with_sources)])

    def closing(self, counted: Usage) -> dict[str, Any]:
        return self._chunk([], usage=counted.model_dump())

    def whole(self, answers: Sequence[Answer], counted: Usage) -> CompletionReplyBody:
        choices = [
            CompletionChoice(
                index=index, text=answer.text, finish_reason=answer.finish_reason, speculation=answer.speculation
            )
            for index, answer in enumerate(answers)
        ]
        head = self.head
        return CompletionReplyBody(
            id=f"cmpl-{head.id}", created=head.created, model=head.model, choices=choices, usage=counted
        )

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return self.head.chunk("cmpl", "text_completion", choices, **more)
