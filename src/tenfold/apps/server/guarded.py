"""A guard over the server's answers: the question is judged first, then each answer, watched while it is written.

Nothing is sent that the last look has not passed; where a look blocks, the answer ends with finish_reason `content_filter`.
A guard that fails ends the answer with a failure (503), never lets it pass.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

from tenfold.apps.server.answers import Piece
from tenfold.apps.server.failures import GuardFailedError, RefusalError
from tenfold.core.errors import UserError
from tenfold.llm.chat import Message
from tenfold.llm.guard import Guard, Watch

log = logging.getLogger(__name__)

Conversation = Sequence[Message]
Result = TypeVar("Result")


@dataclass
class WatchedAnswer:
    """One answer between the model and the client: what has not been passed is held back."""

    watch: Watch
    held: list[tuple[str, str]] = field(default_factory=list)
    """Spans of the answer (text, who guessed it) that wait for a look."""
    is_open: bool = True

    def feed(self, piece: Piece) -> Piece:
        """What of a piece may be sent; of the last one, why the answer ends."""
        passed = self.watch.feed(piece.text) if piece.text else ""
        self.held += piece.spans
        if piece.finish_reason is not None and not self._blocks():
            passed += self.watch.finish()
        spans = self._release(len(passed))
        reason = "content_filter" if self._blocks() else piece.finish_reason
        self.is_open = reason is None
        return Piece(piece.choice, spans, piece.num_tokens, reason, piece.speculation)

    def _blocks(self) -> bool:
        return self.watch.verdict is not None and self.watch.verdict.decision == "block"

    def _release(self, num_characters: int) -> list[tuple[str, str]]:
        spans: list[tuple[str, str]] = []
        while num_characters and self.held:
            text, source = self.held.pop(0)
            spans.append((text[:num_characters], source))
            if len(text) > num_characters:
                self.held.insert(0, (text[num_characters:], source))
            num_characters -= len(spans[-1][0])
        return spans


class Sentry:
    """The guard of one server, on a thread of its own."""

    def __init__(self, guard: Guard, rules: Sequence[str] = ()) -> None:
        self.guard = guard
        self.rules = tuple(rules)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="guard")

    async def check_questions(self, conversations: Sequence[Conversation]) -> None:
        """Judges the last message of each conversation; empty ones pass.

        Raises:
            RefusalError: one is blocked (400, content_filter), or the guard failed (503).
        """
        for messages in conversations:
            if not messages or not messages[-1].text.strip():
                continue
            verdict = await self._run(lambda messages=messages: self.guard.check(messages[-1:], self.rules))
            if verdict.decision == "block":
                raise RefusalError(400, "the question was stopped by the guard", code="content_filter")

    async def watched(self, pieces: AsyncGenerator[Piece], conversations: Sequence[Conversation]) -> AsyncGenerator[Piece]:
        """The pieces of one answer to each conversation as far as the guard has passed them; each answer ends once."""
        async with aclosing(pieces):
            watches = await self._run(lambda: [self.guard.watch(messages, self.rules) for messages in conversations])
            answers = [WatchedAnswer(watch) for watch in watches]
            async for piece in pieces:
                answer = answers[piece.choice]
                if answer.is_open:
                    yield await self._run(lambda answer=answer, piece=piece: answer.feed(piece))
                if not any(each.is_open for each in answers):
                    return

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(cancel_futures=True)

    async def _run(self, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except UserError:
            raise
        except Exception as failure:  # whatever failed, nothing passes unjudged
            log.exception("the guard failed")
            raise GuardFailedError from failure
