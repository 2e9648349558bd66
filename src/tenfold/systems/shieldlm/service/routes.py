"""The routes: POST /v1/moderations, /v1/guard/check, /v1/chat/completions (if there is an upstream), GET /v1/guard."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tenfold.core.errors import UserError
from tenfold.systems.shieldlm.checking import as_row
from tenfold.systems.shieldlm.guard import Verdict
from tenfold.systems.shieldlm.service.bodies import (
    MOST_INPUTS,
    ChatBody,
    CheckBody,
    ModerationBody,
    RequestError,
    read_body,
)
from tenfold.systems.shieldlm.service.guarding import CATEGORY_KEYS, GuardService, ServerBusyError
from tenfold.systems.shieldlm.service.proxy import Upstream, guarded_reply, guarded_stream

Handler = Callable[[Request], Awaitable[Response]]


def guard_router(service: GuardService, *, upstream: Upstream | None = None) -> APIRouter:
    """The routes for one guard; `upstream` is the chat endpoint that the proxy speaks to."""
    router = APIRouter()
    router.add_api_route("/v1/guard", _described(service), methods=["GET"])
    router.add_api_route("/v1/moderations", _safely(_moderations(service)), methods=["POST"])
    router.add_api_route("/v1/guard/check", _safely(_check(service)), methods=["POST"])
    if upstream:
        router.add_api_route("/v1/chat/completions", _safely(_chat(service, upstream)), methods=["POST"])
    return router


def _safely(handler: Handler) -> Handler:
    """Turns what is wrong into one clear line: 4xx for the client's mistakes, 503 for a guard that failed (closed)."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except RequestError as error:
            return JSONResponse(error.body, error.status)
        except UserError as error:
            return JSONResponse(RequestError(400, str(error)).body, 400)
        except ServerBusyError as error:
            return JSONResponse(RequestError(429, str(error), "busy").body, 429, headers={"Retry-After": "1"})
        except Exception as error:  # whatever failed, nothing passes unjudged
            return JSONResponse(RequestError(503, f"the guard failed ({type(error).__name__})", "guard_failed").body, 503)

    return handle


def _described(service: GuardService) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def describe() -> dict[str, Any]:
        packs = {lang: {"id": pack.id, "version": pack.version} for lang, pack in service.guard.packs.items()}
        return {
            "model": service.name,
            "fingerprint": service.fingerprint,
            "ids": dict(service.guard.ids),
            "packs": packs,
            "uncovered": service.uncovered,
        }

    return describe


def _moderations(service: GuardService) -> Handler:
    async def moderations(request: Request) -> Response:
        texts = (await read_body(request.stream(), ModerationBody)).texts()
        if not texts or len(texts) > MOST_INPUTS:
            raise RequestError(400, f"got {len(texts)} inputs; 1 to {MOST_INPUTS} are judged at once")
        results = []
        for text in texts:
            verdict, scores = await service.moderate(text)
            results.append(
                {
                    "flagged": verdict.decision == "block",
                    "categories": {key: scores[key] > 0.5 for key in CATEGORY_KEYS},
                    "category_scores": scores,
                    "category_applied_input_types": {
                        key: ["text"] if key in service.covered else [] for key in CATEGORY_KEYS
                    },
                    "decision": verdict.decision,
                    "label": verdict.label,
                    "score": verdict.score,
                }
            )
        body = {"id": f"modr-{uuid.uuid4().hex}", "model": service.name, "results": results, "uncovered": service.uncovered}
        return JSONResponse(body)

    return moderations


def _result(service: GuardService, verdict: Verdict, scores: dict[str, float]) -> dict[str, Any]:
    """One text in OpenAI's form, with our decision beside it."""
    return {
        "flagged": verdict.decision == "block",
        "categories": {key: scores[key] > 0.5 for key in CATEGORY_KEYS},
        "category_scores": scores,
        "category_applied_input_types": {key: ["text"] * (key in service.covered) for key in CATEGORY_KEYS},
        "decision": verdict.decision,
        "label": verdict.label,
        "score": verdict.score,
    }


def _check(service: GuardService) -> Handler:
    async def check(request: Request) -> Response:
        body = await read_body(request.stream(), CheckBody)
        verdict = await service.check(
            body.query,
            body.response,
            body.rules,
            lang=body.lang,
            explain=body.explain,
            spans=body.spans,
            alpha=body.alpha,
        )
        return JSONResponse({"model": service.name, "ids": dict(verdict.ids), **as_row(verdict)})

    return check


def _chat(service: GuardService, upstream: Upstream) -> Handler:
    async def chat(request: Request) -> Response:
        body = await read_body(request.stream(), ChatBody)
        if not body.stream:
            return JSONResponse(await guarded_reply(service, upstream, body))
        chunks = guarded_stream(service, upstream, body)
        first = await anext(chunks)  # what is wrong with the question shows before the answer begins
        return StreamingResponse(_joined(first, chunks), media_type="text/event-stream")

    return chat


async def _joined(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for chunk in rest:
        yield chunk
