"""Multiple-choice questions from anybody's JSON lines, as an audit needs them: options, and which one is right.

Accepted names: options | choices (a list, or an object from letter to text); gold | answer | label (a letter, a place
counted from 0, or the very text of an option); and if there are any id, block, task, question.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.core.errors import ConfigError
from tenfold.evals.audits import AuditItem
from tenfold.systems.deepeval.items import SLOT, Item, numbered

OPTION_NAMES = ("options", "choices", "Options")
GOLD_NAMES = ("gold", "answer", "label", "Answer")


def read(path: Path) -> dict[str, list[AuditItem]]:
    """The questions of a file by their task; those without a task go under the file's name.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is no question, or there is none; the message gives the line and the reason.
    """
    tasks: dict[str, list[AuditItem]] = {}
    for number, (row, where) in enumerate(numbered(path), start=1):
        tasks.setdefault(str(row.get("task") or path.stem), []).append(parse(row, where, default_id=str(number)))
    if not tasks:
        raise ConfigError(f"{path} holds no questions; give JSON lines with options and gold")
    return tasks


def parse(row: Mapping[str, Any], where: str, *, default_id: str) -> AuditItem:
    """A question from a JSON object; ConfigError with `where` and the reason if it is none."""
    options = _options(_first(row, OPTION_NAMES), where)
    item_id = str(row.get("id") or default_id)
    return AuditItem(
        id=item_id,
        block=str(row["block"]) if row.get("block") is not None else item_id,
        options=list(options.values()),
        gold=_gold(_first(row, GOLD_NAMES), options, where),
        question=str(row.get("question") or ""),
    )


def as_audit_item(item: Item) -> AuditItem:
    """Our own question as an audit sees it; without a block it is its own."""
    question = item.prompts[0].replace(SLOT, "") if item.prompts else ""
    return AuditItem(item.id, item.block or item.id, item.options, item.gold, question)


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _options(value: Any, where: str) -> dict[str, str]:
    """The options by their letter, in their order."""
    if isinstance(value, list):
        value = {chr(ord("A") + place): option for place, option in enumerate(value)}
    if not isinstance(value, dict) or len(value) < 2 or not all(isinstance(text, str) for text in value.values()):
        raise ConfigError(f"{where}: options is {value!r}; give two texts or more, as a list or by letter")
    return {str(letter): text for letter, text in value.items()}


def _gold(value: Any, options: Mapping[str, str], where: str) -> int:
    """The place of the right option, from its place, its letter or its text."""
    texts = list(options.values())
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(texts):
        return value
    if isinstance(value, str) and value.strip() in options:
        return list(options).index(value.strip())
    if isinstance(value, str) and texts.count(value) == 1:
        return texts.index(value)
    raise ConfigError(f"{where}: gold is {value!r}; give one of {', '.join(options)}, a place from 0, or an option's text")
