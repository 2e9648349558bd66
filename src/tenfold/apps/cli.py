"""The command line `tenfold`: parsing, exit codes, and nothing else.

Answers --help without importing torch: systems and verbs are rows of strings (`systems.catalogue`) until one is called.
Exit codes: 0 done, 2 the user's mistake (one line on stderr), 1 our own failure, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from tenfold import __version__
from tenfold.apps.terminal import RUNS, Json, Runs, print_json
from tenfold.core.errors import TenfoldError, UserError
from tenfold.systems import catalogue

PASS_ON = Parameter(allow_leading_hyphen=True)

app = App(
    name="tenfold",
    version=__version__,
    help="A workbench for your own language models: ten published methods, each with the proof that it did what it claims.",
    help_format="plaintext",
    help_epilogue="Start with `tenfold doctor`, then `tenfold run recipes/lifecycle.toml`.",
)


@app.command
def systems(*, json: Json = False) -> None:
    """List the ten systems, and which are ready, begun or planned."""
    rows = [
        {
            "name": row.name,
            "stage": row.stage,
            "title": row.title,
            "arxiv": row.arxiv,
            "status": row.status,
            "verbs": list(row.verbs),
        }
        for row in catalogue.SYSTEMS.values()
    ]
    if json:
        print_json({"systems": rows})
        return
    for row in rows:
        print(f"{row['name']:<11} {row['stage']:<7} {row['status']:<8} arXiv {row['arxiv']}  {row['title']}")


@app.command
def doctor(
    *, json: Json = False, verify: Annotated[bool, Parameter(negative="", help="Also check the model's checksum.")] = False
) -> None:
    """Tell what is installed here, which models and data are found, and how fast this machine is."""
    from tenfold.apps import doctor as module

    findings = module.examine(verify=verify)
    print_json(findings) if json else print(module.describe(findings))


@app.command
def run(
    recipe: Path,
    *,
    set: Annotated[list[str] | None, Parameter(negative="", help="Change a setting: stage.key=value. Repeatable.")] = None,
    resume: Annotated[
        bool, Parameter(negative="", help="Continue the newest run of this recipe with the same settings.")
    ] = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Check everything and print the stages, run nothing.")] = False,
    smoke: Annotated[bool, Parameter(negative="", help="Use the recipe's smallest settings.")] = False,
    json: Json = False,
    runs: Runs = RUNS,
) -> None:
    """Run a recipe: its stages one after the other, ending with an HTML report."""
    from tenfold.apps import recipes

    plan = recipes.load(recipe, overrides=set or [], smoke=smoke)
    if dry_run:
        print_json(plan.model_dump(mode="json")) if json else print(recipes.describe(plan))
        return
    result = recipes.execute(plan, runs, resume=resume)
    print_json(result.metrics) if json else print(result.summary)


@app.command(name="runs")
def list_runs(*, json: Json = False, runs: Runs = RUNS) -> None:
    """List the runs and whether they are complete."""
    from tenfold.store import runs as store

    rows = [
        {"run": f"{folder.parent.name}/{folder.name}", "complete": store.read_metrics(folder) is not None}
        for folder in store.every(runs)
    ]
    if json:
        print_json({"runs": rows})
        return
    for row in rows:
        print(f"{'complete  ' if row['complete'] else 'unfinished'}  {row['run']}")
    if not rows:
        print(f"no runs under {runs}; start one with `tenfold run recipes/lifecycle.toml`")


@app.command
def report(
    run: str,
    *,
    out: Annotated[Path | None, Parameter(help="Where to write the page.")] = None,
    json: Json = False,
    runs: Runs = RUNS,
) -> None:
    """Write the HTML report of a run (a path, or the beginning of its name)."""
    from tenfold.apps import recipes
    from tenfold.store import runs as store

    page = recipes.write_report(store.find(runs, run), out)
    print_json({"report": str(page)}) if json else print(page)


def config_command(name: str, summary: str) -> None:
    """Registers a command whose words are parsed by settings that are loaded only when it is called."""

    @app.command(name=name, help=summary, help_flags=[], version_flags=[])
    def dispatch(*words: Annotated[str, PASS_ON]) -> None:
        from tenfold.apps import serving_commands

        serving_commands.run(name, words)


config_command("serve", "Serve a model over OpenAI's HTTP interface, decoding speculatively for many clients at a time.")


@app.command(
    name="loadtest",
    help="Measure a server under load, beside another server; then besiege it.",
    help_flags=[],
    version_flags=[],
)
def loadtest(*words: Annotated[str, PASS_ON]) -> None:
    from tenfold.apps import verb_command, wiring

    verb_command.run_words("loadtest", "serve-loadtest", wiring.verb("serve.loadtest"), words)


config_command("ui", "Open a web page: chat with the guessed tokens shown, runs with their reports, runs compared.")


@app.command
def publish(run: str, name: str, *, runs: Runs = RUNS) -> None:
    """Write a run's numbers to results/NAME.json, and rewrite the READMEs' tables from results/."""
    from tenfold.apps import published
    from tenfold.store import runs as store

    print(published.publish(store.find(runs, run), name))
    for page in published.refresh(published.markdown_pages(Path()), name=name):
        print(page)


def system_command(name: str) -> None:
    """Registers `tenfold <system> <verb>`; the words after the system's name are parsed by the verb, once it is loaded."""
    row = catalogue.SYSTEMS[name]

    @app.command(name=name, help=f"{row.title} ({row.status})", help_flags=[], version_flags=[], group="Systems")
    def dispatch(*words: Annotated[str, PASS_ON]) -> None:
        from tenfold.apps import verb_command

        verb_command.dispatch(row, words)


for _name in catalogue.SYSTEMS:
    system_command(_name)


def main(words: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code."""
    sys.exit(exit_code(sys.argv[1:] if words is None else list(words)))


def exit_code(words: list[str]) -> int:
    """Runs one command; failures that we know are one line on stderr."""
    try:
        app(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return 0
    except CycloptsError as error:
        return fail(f"{one_line(error)}; `tenfold --help` lists what there is", UserError.exit_code)
    except TenfoldError as error:
        return fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return fail("interrupted; the same command with --resume continues", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def fail(message: str, code: int) -> int:
    print(f"tenfold: {' '.join(message.split())}", file=sys.stderr)
    return code


def one_line(error: CycloptsError) -> str:
    """What was wrong with the words of a command; settings explain themselves better than their parser does."""
    from pydantic import ValidationError

    from tenfold.core.config import first_problem

    cause = error.__cause__ or error.__context__
    return first_problem(cause) if isinstance(cause, ValidationError) else str(error)
