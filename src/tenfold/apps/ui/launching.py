"""`tenfold ui`: the server of `tenfold serve`, with the web page in front of it."""

from pathlib import Path

from pydantic import Field

from tenfold.apps.server.serving import serve
from tenfold.apps.server.settings import ServeConfig
from tenfold.apps.ui.pages import page_routes

DEFAULT_PORT = 7860


class UiConfig(ServeConfig):
    """Open a web page: chat with the guessed tokens shown, runs with their reports, runs compared. It serves /v1 as well."""

    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    """Port to listen on; 0 takes a free one and prints it."""
    runs: Path = Path("runs")
    """Folder of the run directories."""


def launch(config: UiConfig) -> None:
    """Serves the page until a signal says stop."""
    serve(config, pages=[page_routes(config.runs, config.served_name, has_guard=bool(config.guard))], front="/")
