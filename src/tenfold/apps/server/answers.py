"""From requests to answers: pieces of text as they come, or all at once; whatever ends a wait ends the decoding too."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from tenfold.apps.server.engine import Engine, Ticket
from tenfold.apps.server.failures import OverloadedError, TimedOutError
from tenfold.apps.server.metrics import Metrics
from tenfold.apps.server.replies import FinishReason, SpeculationReport
from tenfold.apps.server.settings import ServeConfig
from tenfold.apps.server.texts import TextStream
from tenfold.nn.models import LoadedModel
from tenfold.systems.specdec.requests import Request
from tenfold.systems.specdec.rounds import Speculation, mean_accepted_tokens
from tenfold.systems.specdec.scheduler import Event


@dataclass(frozen=True)
class Piece:
    """What has come of one answer; the last piece of each says why it ended."""

    choice: int
    spans: Sequence[tuple[str, str]] = ()
    """Text, and who guessed it: the name of a drafter, or `target`."""
    num_tokens: int = 0
    finish_reason: FinishReason | None = None
    speculation: SpeculationReport | None = None

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.spans)


@dataclass
class Answer:
    """A whole answer."""

    text: str = ""
    num_tokens: int = 0
    finish_reason: FinishReason = "stop"
    speculation: SpeculationReport | None = None

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.num_tokens += piece.num_tokens
        if piece.finish_reason is not None:
            self.finish_reason, self.speculation = piece.finish_reason, piece.speculation


def report(result: Speculation) -> SpeculationReport:
    """How an answer was decoded, in numbers."""
    return SpeculationReport(
        passes=len(result.rounds),
        drafted=sum(step.num_drafted for step in result.rounds),
        accepted=sum(step.num_accepted for step in result.rounds),
        tokens_per_pass=round(mean_accepted_tokens(result.rounds), 3),
        prompt_ms=round(result.prefill_ms, 3),
        total_ms=round(result.total_ms, 3),
    )


@dataclass
class Reader:
    """Turns one request's events into pieces of text."""

    choice: int
    stream: TextStream

    def read(self, event: Event) -> Piece:
        """The event as a piece, which may be without text as long as a character or a stop string is not whole."""
        spans = [(self.stream.push([token]), source) for token, source in zip(event.tokens, event.sources, strict=True)]
        if event.result is None:
            return Piece(self.choice, [span for span in spans if span[0]], len(event.tokens))
        spans.append((self.stream.finish(), spans[-1][1] if spans else "target"))
        reason: FinishReason = "length" if event.result.stop_reason == "length" else "stop"
        return Piece(self.choice, [span for span in spans if span[0]], len(event.tokens), reason, report(event.result))


async def gathered(pieces: AsyncGenerator[Piece], num_choices: int) -> list[Answer]:
    """Whole answers from their pieces."""
    answers = [Answer() for _ in range(num_choices)]
    async with aclosing(pieces) as coming:
        async for piece in coming:
            answers[piece.choice].add(piece)
    return answers


@dataclass(frozen=True)
class Desk:
    """Hands requests to the engine and their answers out."""

    engine: Engine
    loaded: LoadedModel
    config: ServeConfig
    metrics: Metrics

    def submit(self, requests: Sequence[Request]) -> list[Ticket]:
        """Queues all, or none.

        Raises:
            OverloadedError: too many wait already.
            UserError: a request does not suit the model.
        """
        if self.engine.num_waiting + len(requests) > self.config.max_waiting + self.config.rows:
            raise OverloadedError(self.engine.num_waiting)
        tickets: list[Ticket] = []
        try:
            for request in requests:
                tickets.append(self.engine.submit(request))
        except Exception:
            self.cancel(tickets)
            raise
        self.metrics.prompt_tokens.inc(sum(len(request.prompt) for request in requests))
        return tickets

    async def pieces(self, requests: Sequence[Request], tickets: Sequence[Ticket]) -> AsyncGenerator[Piece]:
        """The pieces of all answers in the order in which they come; leaving the loop cancels what is not finished.

        Raises:
            TimedOutError: the time for the answer is over.
        """
        news: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        readers = [
            asyncio.create_task(self._read(choice, request, ticket, news))
            for choice, (request, ticket) in enumerate(zip(requests, tickets, strict=True))
        ]
        num_open = len(readers)
        end = time.monotonic() + self.config.timeout_s
        try:
            while num_open:
                piece = await asyncio.wait_for(news.get(), max(end - time.monotonic(), 0))
                if isinstance(piece, Exception):
                    raise piece
                num_open -= piece.finish_reason is not None
                yield piece
        except TimeoutError:
            raise TimedOutError(self.config.timeout_s) from None
        finally:
            for reader in readers:
                reader.cancel()
            self.cancel(tickets)

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        """Ends what is not over."""
        for ticket in tickets:
            if self.engine.cancel(ticket):
                self.metrics.cancelled.inc()

    async def _read(self, choice: int, request: Request, ticket: Ticket, news: "asyncio.Queue[Piece | Exception]") -> None:
        reader = Reader(choice, TextStream(self.loaded.tokenizer, request.stopper.stop_strings))
        is_first = True
        try:
            async for event in ticket.follow():
                if is_first and event.tokens:
                    self.metrics.first_token.observe(time.perf_counter() - ticket.submitted)
                    is_first = False
                news.put_nowait(reader.read(event))
                if event.result is not None:
                    self._book(event.result, ticket)
        except Exception as failure:  # whatever ends the answer is told to who waits for it
            news.put_nowait(failure)

    def _book(self, result: Speculation, ticket: Ticket) -> None:
        self.metrics.whole_answer.observe(time.perf_counter() - ticket.submitted)
        self.metrics.new_tokens.inc(len(result.tokens))
        numbers = report(result)
        self.metrics.passes.inc(numbers.passes)
        self.metrics.drafted.inc(numbers.drafted)
        self.metrics.accepted.inc(numbers.accepted)
