"""Runs side by side: in which settings they differ, and what each measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.apps.report import words
from tenfold.apps.ui.runs import ShownRun, leaves

MANY_CHARACTERS = 160
"""A longer value is cut."""


@dataclass(frozen=True)
class Line:
    """One value of every run."""

    name: str
    values: Sequence[str]
    change: str = ""
    """Of two numbers: the second against the first."""

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def settings_lines(runs: Sequence[ShownRun]) -> list[Line]:
    """The settings in which the runs differ."""
    return [line for line in _lines([run.settings for run in runs]) if line.differs]


def metrics_lines(runs: Sequence[ShownRun]) -> list[Line]:
    """Everything that the runs measured."""
    return _lines([run.metrics or {} for run in runs])


def _lines(tables: Sequence[dict[str, Any]]) -> list[Line]:
    flat = [dict(leaves(table)) for table in tables]
    names = dict.fromkeys(name for table in flat for name in table)
    return [
        Line(name, [shown(table.get(name)) for table in flat], change([table.get(name) for table in flat])) for name in names
    ]


def shown(value: Any) -> str:
    """A value in a cell."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    text = words(value)
    return text if len(text) <= MANY_CHARACTERS else f"{text[:MANY_CHARACTERS]}…"


def change(values: Sequence[Any]) -> str:
    """`+12.5 %`, of exactly two numbers of which the first is not 0."""
    if len(values) != 2 or not all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        return ""
    first, second = values
    return f"{(second - first) / abs(first):+.1%}".replace("%", " %") if first and first != second else ""
