"""The guard over HTTP: OpenAI's moderation endpoint, a richer one of our own, and a chat proxy that is watched.

`guard_router(service)` is a FastAPI router for any server to mount. FastAPI is an optional package, imported here only.
"""

from fastapi import APIRouter

from tenfold.systems.shieldlm.served import ServedGuard
from tenfold.systems.shieldlm.service.guarding import GuardService
from tenfold.systems.shieldlm.service.routes import guard_router

__all__ = ["GuardService", "guard_router", "served_routes"]


def served_routes(served: ServedGuard) -> APIRouter:
    """The routes of a guard that watches over a server already; chat is the server's own."""
    return guard_router(GuardService(served.guard, covered=served.covered))
