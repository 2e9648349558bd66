"""Servers as processes of their own: ours, and Transformers' with the same model."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tenfold.core.errors import ApparatusError

OURS = "tenfold"
PEERS: dict[str, tuple[str, ...]] = {"transformers": (), "transformers-batched": ("--continuous-batching",)}
"""Flags of `transformers serve`, by the name of the peer."""
START_S = 180.0
"""How long a server may take to answer for the first time."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    url: str
    model: str
    """What it calls the model."""
    pid: int | None = None
    """None if somebody else has started it."""

    def memory_mib(self) -> float | None:
        """Resident memory; None where it cannot be read."""
        status = Path(f"/proc/{self.pid}/status")
        if self.pid is None or not status.exists():
            return None
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


def command(name: str, model: str, path: str, port: int, flags: Sequence[str]) -> list[str]:
    """How the server is started; a peer gets the same weights by their folder."""
    if name == OURS:
        run = "import sys; from tenfold.apps.cli import main; main(sys.argv[1:])"
        return [sys.executable, "-c", run, "serve", "--model", model, "--port", str(port), *flags]
    run = "from transformers.cli.transformers import main; main()"
    return [sys.executable, "-c", run, "serve", path, "--port", str(port), "--host", "127.0.0.1", *PEERS[name]]


@contextlib.contextmanager
def running(name: str, model: str, path: str, log: Path, flags: Sequence[str] = ()) -> Iterator[Server]:
    """A server from its first answer to the end of the context.

    Raises:
        ApparatusError: it ended, or did not answer in time; its output is in `log`.
    """
    port = _free_port()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command(name, model, path, port, flags), stdout=output, stderr=subprocess.STDOUT)
    server = Server(name, f"http://127.0.0.1:{port}", model if name == OURS else path, process.pid)
    try:
        _wait(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ApparatusError(f"{server.name} ended with code {process.returncode}; its output is in {log}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{server.url}/health", timeout=2).status_code == 200:
                return
        time.sleep(0.2)
    raise ApparatusError(f"{server.name} did not answer within {START_S:g} s; its output is in {log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
