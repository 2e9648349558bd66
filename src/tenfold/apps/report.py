"""The report: pages come in, one HTML file goes out that opens anywhere, without a network, for a reader of no code.

The template, its style and its script lie in `templates/`; every colour is a variable of `report.css`, and the house
look of all figures is one function of `report.js`. A figure names its colours `series-1` to `series-6`, `ink` or
`muted`, or leaves them to the house look. Text is escaped by the template, figures travel as JSON. The page forbids
itself all network access by a content security policy.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from tenfold.core.records import ColouredText, Figure, Page, Span, Table
from tenfold.store import atomic

NUM_UNDERLINES = 5
"""How many sources `report.css` tints and underlines, each in its own way; the first of a legend is plain text."""

HEADLINE_FACTS = 4
"""How many facts of each page the front page repeats."""

CODE = re.compile(r"`([^`\n]+)`")
"""Commands and names in prose, written between backticks."""

STARTS_LIKE_A_NUMBER = re.compile(r"[-+−]?\d|[–-]?$")


def render(title: str, subtitle: str, pages: Sequence[Page], environment: Mapping[str, Any], out: Path) -> Path:
    """Writes the report of `pages` to the file `out`, in one step, and returns its path.

    `environment` is printed at the foot in its own order; its values are texts, numbers, None, lists or tables of
    these. The value of `command`, if there is one, is set apart as the way to reproduce the report.
    """
    settings = {key: words(value) for key, value in environment.items() if key != "command"}
    html = _template().render(
        title=title,
        subtitle=subtitle,
        pages=pages,
        environment=settings,
        command=environment.get("command"),
        plotlyjs=_plotlyjs() if any(isinstance(exhibit, Figure) for page in pages for exhibit in page.exhibits) else "",
    )
    atomic.write_text(out, html)
    return out


def prose(text: str) -> Markup:
    """A paragraph, escaped, with what stands between backticks set as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


def words(value: Any) -> str:
    """A plain value as a reader sees it: `{"torch": "2.13", "rich": None}` reads `torch 2.13, rich –`."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value))
    return str(value)


def number_columns(table: Table) -> set[int]:
    """The columns, but the first, in which every cell is a number or empty: they are set flush right."""
    columns = enumerate(zip(*table.rows, strict=True))
    return {place for place, cells in columns if place and all(map(STARTS_LIKE_A_NUMBER.match, cells))}


def source_styles(text: ColouredText) -> dict[str, int]:
    """The style number of each source of the legend or the text: 0, plain, is the first of the legend."""
    sources = dict.fromkeys([*text.legend, *(span.source for span in text.spans)])
    return {source: 1 + (place - 1) % NUM_UNDERLINES if place else 0 for place, source in enumerate(sources)}


def shares(spans: Sequence[Span]) -> dict[str, str]:
    """For each source its share of the characters, as a percentage."""
    sizes = Counter[str]()
    for span in spans:
        sizes[span.source] += len(span.text)
    return {source: f"{size / max(1, sizes.total()):.0%}" for source, size in sizes.items()}


def _template() -> jinja2.Template:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {"headline_facts": HEADLINE_FACTS}
    templates.filters |= {
        "prose": prose,
        "kind": lambda exhibit: type(exhibit).__name__,
        "sentence": lambda name: name[:1].upper() + name[1:].replace("_", " "),
        "plotly_json": _plotly_json,
        "number_columns": number_columns,
        "source_styles": source_styles,
        "shares": shares,
    }
    return templates.get_template("report.html.j2")


def _plotly_json(figure: Mapping[str, Any]) -> Markup:
    """JSON that may stand inside a script element: no `<`, and null for what is not a finite number."""
    from plotly.utils import PlotlyJSONEncoder  # 0.2 s, which only a report need pay

    return Markup(json.dumps(figure, cls=PlotlyJSONEncoder).replace("<", "\\u003c"))


def _plotlyjs() -> Markup:
    from plotly.offline import get_plotlyjs  # as above

    return Markup(get_plotlyjs())
