"""The frozen records that cross layers: verbs and what they are given, pages of a report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenfold.core.config import Config

Metrics = dict[str, Any]
"""What a verb returns: plain JSON values under stable keys."""


@dataclass(frozen=True)
class Verb:
    """One thing a system can do: its settings, and the function from (settings, run) to metrics."""

    config: type[Config]
    run: Callable[..., Metrics]
    summary: Callable[[Metrics], str]
    """Renders the metrics as the few lines that a person reads in the terminal."""
    page: Callable[[Sequence[dict[str, Any]], Metrics], "Page"] | None = None
    """Renders result rows and metrics as a page of a report; None where there is nothing to show."""


@dataclass(frozen=True)
class Figure:
    """A Plotly figure as plain data (`data`, `layout`) with the sentence that says what to see in it."""

    title: str
    caption: str
    plotly: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row."""

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Span:
    """A piece of text with the name of its source, for text coloured by where it came from."""

    text: str
    source: str


@dataclass(frozen=True)
class ColouredText:
    """A text whose spans are coloured by source; `legend` maps each source to what it means."""

    title: str
    caption: str
    spans: Sequence[Span]
    legend: dict[str, str]


@dataclass(frozen=True)
class Picture:
    """One picture as a `data:` URI (the report loads nothing from outside) with the line that stands under it."""

    data_uri: str
    caption: str


@dataclass(frozen=True)
class Pictures:
    """A row of small pictures."""

    title: str
    caption: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Page:
    """One page of a report: what happened, whether it helped, and what to look at."""

    title: str
    verdict: str
    """One sentence a person can quote."""
    story: Sequence[str]
    """Paragraphs in plain words."""
    facts: dict[str, str] = field(default_factory=dict)
    """A few headline numbers, already formatted."""
    exhibits: Sequence[Figure | Table | ColouredText | Pictures] = ()
