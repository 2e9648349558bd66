"""A guard over the server's answers: the question is judged first, then each answer, watched while it is written.

Nothing is sent that the last look has not passed; where a look blocks, the answer ends with finish_reason `content_filter`.
A guard that fails ends the answer with a failure (closed), never lets it pass.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TypeVar

from tenfold.apps.server.answers import Piece
from tenfold.apps.server.failures import RefusalError
from tenfold.llm.chat import Message, user
from tenfold.llm.guard import Guard, Watch

Result = TypeVar("Result")
SOURCE = "target"
"""Which guess a piece of text came from is lost when it waits for a look."""


class Sentry:
    """The guard of one server, on a thread of its own."""

    def __init__(self, guard: Guard, rules: Sequence[str] = ()) -> None:
        self.guard = guard
        self.rules = tuple(rules)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="guard")

    async def check_question(self, question: str) -> None:
        """Raises RefusalError (400, content_filter) if the question is blocked; an empty one passes."""
        if not question.strip():
            return
        verdict = await self._run(lambda: self.guard.check([user(question)], self.rules))
        if verdict.decision == "block":
            raise RefusalError(400, "the question was stopped by the guard", code="content_filter")

    async def watched(
        self, pieces: AsyncGenerator[Piece], messages: Sequence[Message], num_choices: int
    ) -> AsyncGenerator[Piece]:
        """The pieces as far as the guard has passed them; each choice ends once."""
        watches = [await self._run(lambda: self.guard.watch(messages, self.rules)) for _ in range(num_choices)]
        is_open = [True] * num_choices
        async with aclosing(pieces):
            async for piece in pieces:
                if is_open[piece.choice]:
                    passed = await self._run(lambda piece=piece: _passed(piece, watches[piece.choice]))
                    is_open[piece.choice] = passed.finish_reason is None
                    yield passed
                if not any(is_open):
                    return

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(cancel_futures=True)

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _passed(piece: Piece, watch: Watch) -> Piece:
    text = watch.feed(piece.text) if piece.text else ""
    is_last = piece.finish_reason is not None
    if is_last and not _blocks(watch):
        text += watch.finish()
    spans = [(text, SOURCE)] if text else []
    if _blocks(watch):
        return Piece(piece.choice, spans, piece.num_tokens, "content_filter", piece.speculation)
    return Piece(piece.choice, spans, piece.num_tokens, piece.finish_reason, piece.speculation)


def _blocks(watch: Watch) -> bool:
    return watch.verdict is not None and watch.verdict.decision == "block"
