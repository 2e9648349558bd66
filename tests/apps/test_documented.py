"""Every command that a page of the documentation shows exists, with each of its settings."""

import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from tenfold.apps import cli
from tenfold.systems import catalogue

ROOT = Path(__file__).parents[2]
HISTORY = {"log.md", "add-a-system.md"}
"""Pages that show commands of another time, and of a system that is made up."""
PAGES = [
    page
    for page in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted(ROOT.glob("src/tenfold/systems/*/README.md")),
    )
    if page.name not in HISTORY
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )*tenfold (\S+)(?: (\S+))?(.*)$", re.MULTILINE)
SETTING = re.compile(r"(?<=\s)--([a-z][\w.-]*)")
ALWAYS = {"json", "resume", "runs", "help"}


def commands(page: Path) -> Iterator[tuple[str, str, str]]:
    """Command, first word, and the rest of the line, for each command in a block that is no Python."""
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language != "python":
            yield from COMMAND.findall(re.sub(r"\s#.*$", "", block, flags=re.MULTILINE))


def settings(config: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The names of all settings as the command line spells them; a name ending in `.` may go on in any way."""
    for name, field in config.model_fields.items():
        flag = name.replace("_", "-")
        yield from (prefix + flag, f"{prefix}no-{flag}")
        for part in parts(field.annotation):
            if typing.get_origin(part) is dict:
                yield f"{prefix}{flag}."
            elif isinstance(part, type) and issubclass(part, BaseModel):
                yield from settings(part, f"{prefix}{flag}.")


def parts(annotation: object) -> Iterator[object]:
    yield annotation
    for part in typing.get_args(annotation):
        yield from parts(part)


def is_known(flag: str, names: set[str]) -> bool:
    return flag in names | ALWAYS or any(name.endswith(".") and flag.startswith(name) for name in names)


def faults(system: str, verb: str, rest: str) -> Iterator[str]:
    if system not in catalogue.SYSTEMS:
        if system not in set(cli.app):
            yield f"no command {system!r}"
        return
    if verb == "--help":
        return
    if verb not in catalogue.SYSTEMS[system].verbs:
        yield f"{system} has no verb {verb!r}"
        return
    names = set(settings(catalogue.SYSTEMS[system].verb(verb).config))
    yield from (f"{system} {verb} has no --{flag}" for flag in SETTING.findall(rest) if not is_known(flag, names))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_the_page_exists(page):
    assert [fault for command in commands(page) for fault in faults(*command)] == []


def test_commands_that_do_not_exist_are_found():
    known = [
        ("glan", "generate", " --disciplines all --max-usd 5"),
        ("plora", "train", " --training.no-autocast"),
        ("serve", "", ""),
    ]
    assert [fault for command in known for fault in faults(*command)] == []
    wrong = [("glan", "grow", ""), ("glan", "generate", " --discipline all"), ("sing", "", "")]
    assert [len(list(faults(*command))) for command in wrong] == [1, 1, 1]
