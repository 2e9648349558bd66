"""One served model: what the routes need, and how it is started and stopped."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from tenfold.apps.server.answers import Desk, gathered
from tenfold.apps.server.bodies import Continuation
from tenfold.apps.server.budget import SharedLength
from tenfold.apps.server.engine import Engine
from tenfold.apps.server.failures import RefusalError
from tenfold.apps.server.forms import Form, usage
from tenfold.apps.server.guarded import Conversation, Sentry
from tenfold.apps.server.metrics import Metrics
from tenfold.apps.server.prompts import Prompts
from tenfold.apps.server.settings import NO_DRAFTER, ServeConfig
from tenfold.apps.server.streams import EventStream, events
from tenfold.llm.guard import Guard
from tenfold.nn.drafting import Drafter
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.systems.specdec.draft_length import DraftLength
from tenfold.systems.specdec.drafters import making
from tenfold.systems.specdec.requests import Request
from tenfold.systems.specdec.scheduler import Scheduler
from tenfold.systems.specdec.speculate import Silent

Result = TypeVar("Result")


@dataclass(frozen=True)
class Service:
    """Answers requests for one model."""

    config: ServeConfig
    prompts: Prompts
    desk: Desk
    engine: Engine
    metrics: Metrics
    sentry: Sentry | None = None
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="prompts"))
    """Where prompts are read: one at a time, and never in the event loop."""

    async def read(self, work: Callable[[], Result]) -> Result:
        """Runs the reading of a prompt, which may take long, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.reader, work)

    def check_model(self, name: str) -> None:
        """Raises RefusalError (404) if this is not the model that is served."""
        if name != self.config.served_name:
            raise RefusalError(
                404,
                f"there is no model {name!r} here; this server has {self.config.served_name!r}",
                param="model",
                code="model_not_found",
            )

    async def reply(
        self,
        form: Form,
        body: Continuation,
        requests: Sequence[Request],
        http: HttpRequest,
        *,
        said: Sequence[Conversation] = (),
    ) -> Response:
        """Has the requests answered, as a stream or at once; `said` is what a guard reads of each prompt."""
        if self.sentry:
            await self.sentry.check_questions(said)
        tickets = self.desk.submit(requests)
        num_prompt = sum(len(request.prompt) for request in requests[:: body.num_choices])
        pieces = self.desk.pieces(requests, tickets)
        if self.sentry:
            pieces = self.sentry.watched(pieces, [each for each in said for _ in range(body.num_choices)])
        if body.stream:
            chunks = events(form, pieces, num_prompt=num_prompt, num_choices=len(requests), extras=body.extras)
            return EventStream(chunks, on_end=lambda: self.desk.cancel(tickets))
        try:
            answers = await unless_gone(http, gathered(pieces, len(requests)))
        finally:
            self.desk.cancel(tickets)
        if answers is None:
            return Response(status_code=499)
        counted = usage(num_prompt, sum(answer.num_tokens for answer in answers))
        return JSONResponse(form.whole(answers, counted).model_dump(exclude_none=False))

    def stop(self) -> None:
        if self.sentry:
            self.sentry.close()
        self.engine.stop()
        self.reader.shutdown(cancel_futures=True)


async def unless_gone(http: HttpRequest, work: Coroutine[Any, Any, Result]) -> Result | None:
    """What the work returns; None, with the work cancelled, if the client goes away before."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(http))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def new_service(loaded: LoadedModel, config: ServeConfig, *, guard: Guard | None = None) -> Service:
    """A service that has not begun to decode; `guard` judges what goes in and out.

    Raises:
        UserError: the drafter is unknown, or does not suit the model.
    """
    engine = Engine(lambda: _scheduler(loaded, config))
    metrics = Metrics(lambda: engine.num_running, lambda: engine.num_waiting, lambda: engine.num_reused)
    sentry = Sentry(guard, config.guard_rules) if guard else None
    return Service(config, Prompts(loaded, config), Desk(engine, loaded, config, metrics), engine, metrics, sentry)


def _scheduler(loaded: LoadedModel, config: ServeConfig) -> Scheduler:
    rows = range(loaded.engine.batch_size)
    seats: list[Scheduler] = []
    lengths: list[DraftLength] = [
        SharedLength(config.num_draft, config.pass_tokens, lambda: len(seats[0].seats) if seats else 1) for _ in rows
    ]
    drafters = [_drafter(loaded, config) for _ in rows]
    scheduler = Scheduler(loaded.engine, drafters=drafters, num_draft=lengths, reuses_prompts=True)
    seats.append(scheduler)
    return scheduler


def _drafter(loaded: LoadedModel, config: ServeConfig) -> Drafter:
    if config.drafter == NO_DRAFTER:
        return Silent()
    return making.make(config.drafter, config.drafter_options, loaded, GenerationSettings())
