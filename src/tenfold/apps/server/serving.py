"""From settings to a running server: loads the model, takes the port, says where it is, and ends gracefully on a signal."""

import logging
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn
from fastapi import APIRouter

from tenfold.apps import wiring
from tenfold.apps.server.app import create
from tenfold.apps.server.gate import read_keys
from tenfold.apps.server.service import Service, new_service
from tenfold.apps.server.settings import ServeConfig
from tenfold.core.errors import UserError
from tenfold.nn import models
from tenfold.nn.lean_llama import LeanLlama

SWITCH_S = 0.0005
"""How long the event loop may keep the interpreter while the decoding thread waits for it, which it does many times a pass.
Python's own setting is ten times as long."""
OPEN_HOSTS = ("0.0.0.0", "::")


def serve(config: ServeConfig, *, pages: Sequence[APIRouter] = (), front: str = "/v1") -> None:
    """Serves until a signal says stop; answers under way may then finish within `grace_s`.

    Args:
        pages: further routes, such as the web page's.
        front: the path that is told to people.

    Raises:
        UserError: the port is taken, or the model, the drafter or the keys cannot be had.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    sys.setswitchinterval(SWITCH_S)
    keys = read_keys(config.api_keys)
    listener = listen(config.host, config.port)
    with listener:
        service = load(config)
        guarding = [wiring.guard_routes(service.sentry.guard)] if service.sentry else []
        application = create(service, keys=keys, pages=[*pages, *guarding])
        server = uvicorn.Server(
            uvicorn.Config(application, log_level="warning", access_log=False, timeout_graceful_shutdown=config.grace_s)
        )
        _say_where(config, listener, front, is_open=not keys)
        for number in (
            signal.SIGINT,
            signal.SIGTERM,
        ):  # the server has its own handlers; afterwards it raises the signal again
            signal.signal(number, lambda *_: None)
        server.run(sockets=[listener])


def load(config: ServeConfig) -> Service:
    """The service of these settings, with everything measured that is measured once."""
    loaded = models.load(config.model, dtype=config.dtype, batch_size=config.rows)
    service = new_service(loaded, config, guard=wiring.guard(config.guard) if config.guard else None)
    if isinstance(loaded.engine, LeanLlama):
        assert loaded.engine.exactness  # tried here, and not while the first client waits
        loaded.engine.cache.reserve(service.prompts.max_tokens)
    return service


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"cannot listen on {host}:{port} ({error.strerror}); give another --port, or --port 0 for a free one"
        ) from None
    listener.listen(1024)
    return listener


def _say_where(config: ServeConfig, listener: socket.socket, front: str, *, is_open: bool) -> None:
    host = f"[{config.host}]" if ":" in config.host else config.host
    print(f"{config.served_name} at http://{host}:{listener.getsockname()[1]}{front} (Ctrl-C ends)", flush=True)
    if is_open and config.host in OPEN_HOSTS:
        print("tenfold: every machine that reaches this one may ask; give --api-keys FILE to prevent it", file=sys.stderr)
