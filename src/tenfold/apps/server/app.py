"""The application: routes behind the gate, failures in OpenAI's form, and the engine's life."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tenfold import __version__
from tenfold.apps.server import failures
from tenfold.apps.server.gate import Gate
from tenfold.apps.server.routes import router
from tenfold.apps.server.service import Service
from tenfold.core.errors import UserError


def create(service: Service, *, keys: Sequence[str] = (), pages: Sequence[APIRouter] = ()) -> FastAPI:
    """The application for one service; it decodes while the application runs.

    Args:
        keys: API keys, of which a client must send one; empty lets anybody ask.
        pages: further routes, such as the web page's.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.engine.start(asyncio.get_running_loop())
        yield
        service.stop()

    app = FastAPI(title="Tenfold", version=__version__, lifespan=life, docs_url=None, redoc_url=None)
    app.state.service = service
    for routes in (router, *pages):
        app.include_router(routes)
    for kind in (failures.RefusalError, UserError, Exception):
        app.add_exception_handler(kind, failures.on_failure)
    app.add_exception_handler(RequestValidationError, failures.on_invalid)
    app.add_exception_handler(HTTPException, failures.on_http)
    app.add_middleware(Gate, keys=keys, max_body_bytes=service.config.max_body_bytes, metrics=service.metrics)
    return app
