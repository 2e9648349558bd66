"""OpenAI's routes, health and metrics."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from tenfold.apps.server.bodies import ChatBody, CompletionBody
from tenfold.apps.server.forms import ChatForm, TextForm
from tenfold.apps.server.metrics import CONTENT_TYPE
from tenfold.apps.server.replies import ChatReplyBody, CompletionReplyBody, ErrorBody, Health, ModelCard, ModelList
from tenfold.apps.server.service import Service
from tenfold.llm.chat import user

STARTED = int(time.time())
STREAM = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The answer, or its stream."}
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The failures of a route, for its description."""
    return {status: {"model": ErrorBody, "description": "Refused, with one line that says why."} for status in statuses}


COMPLETING: dict[int | str, dict[str, Any]] = {
    **STREAM,
    **failures(400, 401, 404, 408, 413, 415, 429, 500, 503, 504),
}

router = APIRouter()


def service_of(request: Request) -> Service:
    return request.app.state.service


Served = Annotated[Service, Depends(service_of)]


@router.post("/v1/chat/completions", response_model=ChatReplyBody, responses=COMPLETING)
async def chat_completions(body: ChatBody, request: Request, service: Served) -> Response:
    """The assistant's next turn in a conversation."""
    service.check_model(body.model)
    schema = body.response_format.schema_of_answer if body.response_format else None
    prompts = service.prompts
    requests = await service.read(lambda: prompts.requests(body, [prompts.of_chat(body)], body.limit, schema=schema))
    said = [user(message.text) for message in body.messages if message.role == "user"]
    return await service.reply(ChatForm(body.model), body, requests, request, said=[said])


@router.post("/v1/completions", response_model=CompletionReplyBody, responses=COMPLETING)
async def completions(body: CompletionBody, request: Request, service: Served) -> Response:
    """The continuation of a text."""
    service.check_model(body.model)
    prompts = service.prompts
    requests = await service.read(lambda: prompts.requests(body, prompts.of_completion(body), body.limit))
    said = [[user(prompt if isinstance(prompt, str) else prompts.text_of(prompt))] for prompt in body.prompts]
    return await service.reply(TextForm(body.model), body, requests, request, said=said)


@router.get("/v1/models", response_model=ModelList, responses=failures(401))
async def list_models(service: Served) -> ModelList:
    """The one model that is served."""
    return ModelList(data=[_card(service)])


@router.get("/v1/models/{name:path}", response_model=ModelCard, responses=failures(401, 404))
async def show_model(name: str, service: Served) -> ModelCard:
    """A model by name."""
    service.check_model(name)
    return _card(service)


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
async def health(service: Served) -> Response:
    """Whether answers can be had, and what is under way."""
    engine = service.engine
    state = Health(
        status="ok" if engine.is_alive else "broken",
        model=service.config.served_name,
        running=engine.num_running,
        waiting=engine.num_waiting,
    )
    return JSONResponse(state.model_dump(), 200 if engine.is_alive else 503)


@router.get(
    "/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}, response_class=Response
)
async def metrics(service: Served) -> Response:
    """Counters in Prometheus' text form."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _card(service: Service) -> ModelCard:
    return ModelCard(id=service.config.served_name, created=STARTED, max_model_len=service.prompts.max_tokens)
