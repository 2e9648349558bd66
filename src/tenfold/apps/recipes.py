"""Recipes: one TOML per reproducible run; its stages run in order, each a verb with its settings.

    title = "..."                     what the report is called
    [[stage]]
    name = "speed"                    unique; `--set speed.key=value` changes its settings
    verb = "specdec.specbench"        <system>.<verb>
    [stage.settings]                  as on the command line
    [stage.smoke]                     what --smoke changes: the smallest settings that still run everything

A setting `"@teach/accepted.jsonl"` is the file of that name in the run directory of the earlier stage `teach`: so a stage
takes up what another made.

A recipe's run directory holds the run directory of each stage, so that a killed recipe continues in the middle of a
stage, and ends with report.html.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.apps import report, wiring
from tenfold.apps.verb_command import perform
from tenfold.core.config import Config, Table, parse, parse_override, read_toml
from tenfold.core.errors import ConfigError, UnknownNameError, UserError
from tenfold.core.records import Metrics, Page, Verb
from tenfold.store import runs

REPORT = "report.html"
STAGES = "stages"
REFERENCE = re.compile(r"(?P<option>[a-z][a-z0-9_.]*=)?@(?P<stage>[a-z][a-z0-9_-]*)/(?P<file>.+)")
"""`@stage/file`, or `key=@stage/file` where a setting is a list of options."""


class Stage(Config):
    """One step of a recipe."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    """Unique within the recipe; small letters."""
    verb: str
    """<system>.<verb>"""
    settings: Table = Field(default_factory=dict)
    """The verb's settings."""
    smoke: Table = Field(default_factory=dict)
    """Changes to the settings under --smoke."""


class Recipe(Config):
    """A whole recipe, with all changes from the command line applied."""

    title: str
    """What the report is called."""
    subtitle: str = ""
    """A sentence below it."""
    stage: tuple[Stage, ...] = Field(min_length=1)
    """The steps, in order."""


@dataclass(frozen=True)
class Result:
    """A finished recipe."""

    metrics: Metrics
    summary: str


def load(path: Path, *, overrides: Sequence[str] = (), smoke: bool = False) -> Recipe:
    """Reads a recipe, applies --smoke and --set, and checks every stage's settings before anything runs.

    Raises:
        UserError: the file, a key, a verb or a setting is wrong; the message says which and what is accepted.
    """
    recipe = parse(Recipe, read_toml(path), where=str(path))
    names = [stage.name for stage in recipe.stage]
    if len(set(names)) < len(names):
        raise ConfigError(f"{path}: two stages have the same name ({', '.join(names)}); give each its own")
    changes = [_stage_change(text, names) for text in overrides]
    stages = tuple(_settled(stage, changes, smoke=smoke) for stage in recipe.stage)
    settled = Recipe(title=recipe.title, subtitle=recipe.subtitle, stage=stages)
    for place, stage in enumerate(settled.stage):
        _settings(stage)
        _check_references(stage, names[:place])
    return settled


def describe(recipe: Recipe) -> str:
    """The stages and their settings, as --dry-run prints them."""
    lines = [recipe.title]
    for stage in recipe.stage:
        settings = _settings(stage).model_dump(mode="json")
        lines.append(f"  {stage.name}: {stage.verb} " + " ".join(f"{key}={value!r}" for key, value in settings.items()))
    return "\n".join(lines)


def execute(recipe: Recipe, root: Path, *, resume: bool) -> Result:
    """Runs all stages that are not complete, and writes the report."""
    kind = "recipe-" + "-".join(recipe.title.lower().split())[:40]
    run = (runs.resume_or_start if resume else runs.start)(root, kind, recipe)
    metrics: Metrics = {}
    lines: list[str] = []
    folders: dict[str, Path] = {}
    for stage in recipe.stage:
        verb = _verb(stage)
        stage = _with_files(stage, folders)
        stage_run = runs.resume_or_start(run.folder / STAGES, stage.name, _settings(stage))
        folders[stage.name] = stage_run.folder
        metrics[stage.name] = perform(verb, stage_run, json=True)
        lines.append(f"[{stage.name}]\n{verb.summary(metrics[stage.name])}")
    page = write_report(run.folder, None)
    run.finish({"stages": metrics, "report": str(page)})
    return Result({"stages": metrics, "report": str(page)}, "\n".join([*lines, f"report: {page}"]))


def write_report(folder: Path, out: Path | None) -> Path:
    """Writes the report of a recipe's run, or of a single verb's run.

    Raises:
        UserError: the run is unfinished, or its verb has no page.
    """
    table = read_toml(folder / "config.toml")
    if STAGES in {path.name for path in folder.iterdir()}:
        recipe = parse(Recipe, table, where=str(folder))
        pages = [page for stage in recipe.stage if (page := _stage_page(folder, stage)) is not None]
        title, subtitle = recipe.title, recipe.subtitle
    else:
        name = folder.parent.name.replace("-", ".", 1)
        title, subtitle = name.replace(".", " "), ""
        page = _page(wiring.verb(name), folder)
        if page is None:
            raise UserError(f"{title} has no page to show; its numbers are in {folder / 'metrics.json'}")
        pages = [page]
    environment = {"run": folder.name, **runs.read_environment(folder)}
    return report.render(title, subtitle, pages, environment, out or folder / REPORT)


def _stage_page(folder: Path, stage: Stage) -> Page | None:
    newest = next(iter(runs.newest_first(folder / STAGES / stage.name)), None)
    return _page(_verb(stage), newest) if newest else None


def _page(verb: Verb, folder: Path) -> Page | None:
    metrics = runs.read_metrics(folder)
    if metrics is None:
        raise UserError(f"the run {folder} is not finished; continue it with --resume, then ask for its report")
    return verb.page(runs.read_rows(folder), metrics) if verb.page else None


def _stage_change(text: str, names: Sequence[str]) -> tuple[str, str, Any]:
    path, value = parse_override(text)
    if len(path) != 2:
        raise ConfigError(
            f"cannot apply --set {text!r}; write it as stage.key=value, for example {names[0]}.max_new_tokens=32"
        )
    if path[0] not in names:
        raise UnknownNameError("stage", path[0], names)
    return path[0], path[1], value


def _settled(stage: Stage, changes: Sequence[tuple[str, str, Any]], *, smoke: bool) -> Stage:
    settings = (
        stage.settings | (stage.smoke if smoke else {}) | {key: value for name, key, value in changes if name == stage.name}
    )
    return Stage(name=stage.name, verb=stage.verb, settings=settings)


def _check_references(stage: Stage, earlier: Sequence[str]) -> None:
    for name, _ in _references(stage.settings):
        if name not in earlier:
            raise UnknownNameError(f"earlier stage (for a setting of {stage.name})", name, earlier)


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """Stage and file of every `@stage/file` among settings."""
    if isinstance(value, str) and (match := REFERENCE.fullmatch(value)):
        yield match["stage"], match["file"]
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(map(_references, value.values()))
    elif isinstance(value, list | tuple):
        yield from chain.from_iterable(map(_references, value))


def _with_files(stage: Stage, folders: Mapping[str, Path]) -> Stage:
    """The stage with each `@stage/file` replaced by the path.

    Raises:
        UserError: the earlier stage left no such file.
    """
    for name, file in _references(stage.settings):
        if not (folders[name] / file).exists():
            raise UserError(
                f"stage {stage.name} wants {file!r} of stage {name}, which left no such file; {folders[name]} holds "
                + ", ".join(sorted(path.name for path in folders[name].iterdir()))
            )
    return stage.model_copy(update={"settings": _replaced(stage.settings, folders)})


def _replaced(value: Any, folders: Mapping[str, Path]) -> Any:
    if isinstance(value, str) and (match := REFERENCE.fullmatch(value)):
        return f"{match['option'] or ''}{folders[match['stage']] / match['file']}"
    if isinstance(value, Mapping):
        return {key: _replaced(part, folders) for key, part in value.items()}
    return [_replaced(part, folders) for part in value] if isinstance(value, list | tuple) else value


def _verb(stage: Stage) -> Verb:
    return wiring.verb(stage.verb)


def _settings(stage: Stage) -> Config:
    return parse(_verb(stage).config, stage.settings, where=f"stage {stage.name}")
