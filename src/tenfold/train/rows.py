"""Instruction rows: a conversation so far, and the answer to learn. JSON lines come in, frozen rows go out.

Three common forms are read: {prompt, completion}, {messages: [...]} whose last message is the assistant's, and
{instruction, input, output}. Further keys are ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError

FORMS = "{prompt, completion}, {messages} that end with the assistant's, or {instruction, input, output}"

Turn = Mapping[str, str]
"""One message of a conversation: {role, content}."""


@dataclass(frozen=True)
class Row:
    """What was said before, and what to answer."""

    id: str
    prompt: tuple[Turn, ...]
    completion: str


def ask(question: str) -> tuple[Turn, ...]:
    """A conversation that consists of one question."""
    return ({"role": "user", "content": question},)


def read_rows(path: Path) -> list[Row]:
    """All rows of a file.

    Raises:
        ConfigError: a row is in no known form or has an empty answer (with its line), or there is no row.
    """
    rows = [parse_row(record, f"{path.name}:{line}") for line, record in enumerate(jsonl.read(path), 1)]
    if not rows:
        raise ConfigError(f"{path} holds no row; give one JSON object a line: {FORMS}")
    return rows


def parse_row(record: Mapping[str, Any], where: str) -> Row:
    """One row from its JSON object; `where` (file:line) names it in errors and serves as id where it has none.

    Raises:
        ConfigError: no known form, or an empty answer.
    """
    turns, completion = _conversation(record, where)
    if not completion.strip():
        raise ConfigError(f"{where}: the answer is empty; every row needs an answer to learn, so drop or complete this one")
    return Row(str(record.get("id", where)), tuple(turns), completion)


def _conversation(record: Mapping[str, Any], where: str) -> tuple[Sequence[Turn], str]:
    match record:
        case {"messages": [*turns, {"role": "assistant", "content": str(completion)}]} if turns:
            return turns, completion
        case {"prompt": str(prompt), "completion": str(completion)}:
            return ask(prompt), completion
        case {"prompt": [*turns], "completion": [{"content": str(completion)}]}:
            return turns, completion
        case {"instruction": str(instruction), "output": str(completion)}:
            context = str(record.get("input") or "")
            return ask(f"{instruction}\n\n{context}" if context else instruction), completion
    raise ConfigError(f"{where}: keys {sorted(record)} are no instruction row; accepted are {FORMS}")
