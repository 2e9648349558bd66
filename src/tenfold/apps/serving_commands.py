"""`tenfold serve` and `tenfold ui`: settings as flags. What the server needs lies in extras and is imported only here."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Annotated, Any

from cyclopts import App, Parameter

from tenfold.core.config import Config, parse
from tenfold.core.errors import MissingArtifactError
from tenfold.core.registry import load_target

NEEDED = ("fastapi", "uvicorn", "prometheus_client")
COMMANDS = {
    "serve": ("tenfold.apps.server.settings:ServeConfig", "tenfold.apps.server.serving:serve"),
    "ui": ("tenfold.apps.ui.launching:UiConfig", "tenfold.apps.ui.launching:launch"),
}
"""By command: its settings, and the function that takes them."""


def run(name: str, words: Sequence[str]) -> None:
    """Runs the command that `words` configure.

    Raises:
        MissingArtifactError: the packages of the extra are not installed.
    """
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise MissingArtifactError(
            f"tenfold {name} needs {', '.join(missing)}; install them with: pip install 'tenfold[{name}]'"
        )
    config_type, function = map(load_target, COMMANDS[name])
    program(name, config_type, function)(list(words), exit_on_error=False, print_error=False, result_action="return_value")


def program(name: str, config_type: type[Config], function: Callable[[Any], None]) -> App:
    """The command-line program of one command."""
    settings = Annotated[config_type, Parameter(name="*", negative_iterable=())]
    app = App(name=f"tenfold {name}", help=config_type.__doc__ or "", version_flags=[], help_format="plaintext")

    def run_command(*, config: settings = None) -> None:  # pyright: ignore
        function(config or parse(config_type, {}))

    run_command.__annotations__["config"] = settings
    app.default(run_command)
    return app
