"""`tenfold <system> <verb>`: a verb's settings as command-line flags, its run directory, and what is printed."""

import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Parameter

from tenfold.apps import wiring
from tenfold.apps.terminal import RUNS, Json, Runs, print_json
from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics, Verb
from tenfold.store import runs as store
from tenfold.systems.catalogue import System

HELP = ("--help", "-h")
Resume = Annotated[bool, Parameter(negative="", help="Continue the newest run of this verb with the same settings.")]


def dispatch(system: System, words: Sequence[str]) -> None:
    """Runs the verb that `words` begin with, or shows which verbs there are.

    Raises:
        UnknownNameError: no such verb.
        UserError: the system is planned.
    """
    if system.status == "planned":
        raise UserError(
            f"{system.name} (arXiv {system.arxiv}) is planned and not built yet; `tenfold systems` lists what is ready"
        )
    if not words or words[0] in HELP:
        print(overview(system))
        return
    verb = wiring.verb(f"{system.name}.{words[0]}")
    run_words(f"{system.name} {words[0]}", f"{system.name}-{words[0]}", verb, words[1:])


def run_words(title: str, kind: str, verb: Verb, words: Sequence[str]) -> None:
    """Runs a verb whose settings are given as words of a command line; its runs are of this kind."""
    command(title, kind, verb)(list(words), exit_on_error=False, print_error=False, result_action="return_value")


def overview(system: System) -> str:
    """The verbs of a system, without importing them."""
    width = max(map(len, system.verbs))
    verbs = "\n".join(f"  {name:<{width}}  {line}" for name, line in system.verbs.items())
    return (
        f"Usage: tenfold {system.name} VERB [OPTIONS]\n\n{system.title} (arXiv {system.arxiv})\n\n{verbs}\n\n"
        f"`tenfold {system.name} VERB --help` shows a verb's options."
    )


def command(title: str, kind: str, verb: Verb) -> App:
    """The command-line program of one verb."""
    settings = Annotated[verb.config, Parameter(name="*", negative_iterable=())]
    program = App(name=f"tenfold {title}", help=verb.config.__doc__ or "", version_flags=[], help_format="plaintext")

    def run_verb(*, config: settings = None, json: Json = False, resume: Resume = False, runs: Runs = RUNS) -> None:  # pyright: ignore
        open_run = store.resume if resume else store.start
        run = open_run(runs, kind, config or parse(verb.config, {}))
        metrics = perform(verb, run, json=json)
        print_json(metrics) if json else print(verb.summary(metrics), f"run: {run.folder}", sep="\n")

    run_verb.__annotations__["config"] = settings
    program.default(run_verb)
    return program


def perform(verb: Verb, run: store.Run, *, json: bool) -> Metrics:
    """Runs a verb to its metrics, or reads them if the run is complete already."""
    if run.metrics is not None:
        return run.metrics
    run.live = None if json else sys.stdout
    return run.finish(verb.run(run.config, run))
