"""Failures as clients see them: OpenAI's error body, with one clear line.

RefusalError        a status, a type, and which key of the body is at fault
  OverloadedError            429: too many wait
  TimedOutError              504: the answer took too long
  GuardFailedError           503: nothing passes unseen
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tenfold.apps.server.engine import StoppedError
from tenfold.apps.server.replies import ErrorBody, ErrorDetail
from tenfold.core.errors import UserError

log = logging.getLogger(__name__)

INVALID = "invalid_request_error"
KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
"""Types of errors by status; other mistakes of a client are INVALID, other failures `server_error`."""

TYPES = ("str", "int")
"""Names of alternatives in the places that pydantic tells."""


class RefusalError(Exception):
    """What a client is told instead of an answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        kind = KINDS.get(self.status, INVALID if self.status < 500 else "server_error")
        return ErrorBody(error=ErrorDetail(message=self.message, type=kind, param=self.param, code=self.code)).model_dump()

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, headers=self.headers)


class OverloadedError(RefusalError):
    """Too many requests wait already."""

    def __init__(self, num_waiting: int) -> None:
        super().__init__(
            429, f"{num_waiting} requests wait already; come back later", code="overloaded", headers={"Retry-After": "1"}
        )


class TimedOutError(RefusalError):
    """The answer was not finished in time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(504, f"the answer was not finished within {timeout_s:g} s; ask for fewer tokens", code="timeout")


class GuardFailedError(RefusalError):
    """The guard itself failed; nothing passes unseen."""

    def __init__(self) -> None:
        super().__init__(
            503, "the guard of this server failed, so nothing is answered; its log says why", code="guard_failed"
        )


def known(failure: Exception) -> RefusalError:
    """Any failure as one that a client may be told; what is not the client's doing shows no inner detail."""
    if isinstance(failure, RefusalError):
        return failure
    if isinstance(failure, UserError):
        return RefusalError(400, str(failure))
    if isinstance(failure, StoppedError):
        return RefusalError(503, "the server is stopping; ask again elsewhere or later", code="stopping")
    log.error("an answer failed", exc_info=failure)
    return RefusalError(500, "the server could not finish this answer; its log says why", code="internal_error")


async def on_failure(_: Request, failure: Exception) -> JSONResponse:
    """FastAPI's handler for our own failures."""
    return known(failure).response()


async def on_invalid(_: Request, failure: Exception) -> JSONResponse:
    """FastAPI's handler for bodies that are no valid request: the first problem, with its place."""
    assert isinstance(failure, RequestValidationError)
    problem = failure.errors()[0]
    place = _place(problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "json_invalid":
        message, place = f"the body is no valid JSON: {problem.get('ctx', {}).get('error', message)}", None
    elif problem["type"] == "missing" and place is None:
        message = "the body is empty; send a JSON object"
    elif place:
        message = f"{place}: {message}; got {_short(problem.get('input'))}"
    return RefusalError(400, message, param=place).response()


def _place(location: Sequence[str | int]) -> str | None:
    """Where in the body something is, as `messages.0.content`; pydantic's names of alternatives are left out."""
    keys = [str(part) for part in location[1:] if str(part) not in TYPES and re.fullmatch(r"\w+", str(part))]
    return ".".join(keys) or None


async def on_http(_: Request, failure: Exception) -> JSONResponse:
    """FastAPI's handler for what it refuses itself: unknown addresses, wrong methods."""
    assert isinstance(failure, HTTPException)
    return RefusalError(failure.status_code, str(failure.detail), headers=failure.headers).response()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
