"""The report file: its parts, its silence towards the network, its escaping, its contrast."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tenfold.apps import report
from tenfold.core.records import ColouredText, Figure, Page, Picture, Pictures, Span, Table

HOSTILE = "</script><script>alert('&')</script>"
CSS = (Path(report.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")


class Elements(HTMLParser):
    """All elements with their attributes, and all text, with scripts and styles kept apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        elif self.cdata_elem is None:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def figure(**layout: object) -> Figure:
    return Figure("A figure", "What to see in it.", {"data": [{"type": "bar", "x": ["a"], "y": [1.0]}], "layout": layout})


def a_page(**changes: Any) -> Page:
    text = ColouredText("Text", "Who wrote it.", [Span("one ", "a"), Span("two", "b")], {"a": "by hand", "b": "by machine"})
    table = Table("Table", "Its rows.", ["Name", "Count", "Word"], [["x", "1.5×", "so"], ["y", "–", "2 or so"]])
    parts: dict[str, Any] = {
        "title": "Stage",
        "verdict": "It worked.",
        "story": ["Once."],
        "facts": {"Prompts": "24"},
        "exhibits": [figure(), table, text],
    }
    return Page(**(parts | changes))


def rendered(tmp_path: Path, *pages: Page, **environment: object) -> str:
    return report.render("Title", "Subtitle", pages, environment, tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def html(tmp_path: Path) -> str:
    return rendered(
        tmp_path, a_page(), a_page(title="Second"), processor="P", packages={"torch": "2", "x": None}, command="make demo"
    )


def test_it_has_a_front_page_a_page_per_stage_and_the_environment(html):
    elements = Elements(html)
    targets = {attributes["id"] for _, attributes in elements.found if "id" in attributes}
    links = [attributes["href"] for attributes in elements.all("a")]
    assert {"#front", "#page-1", "#page-2"} <= set(links)
    assert {str(link).removeprefix("#") for link in links} <= targets
    for words in (
        "Title",
        "Subtitle",
        "It worked.",
        "Once.",
        "24",
        "What to see in it.",
        "by machine",
        "torch 2, x –",
        "make demo",
    ):
        assert words in elements.text
    assert html.count("It worked.") == 4


def test_every_id_is_used_once(html):
    ids = [attributes["id"] for _, attributes in Elements(html).found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_it_names_itself_to_a_screen_reader(html):
    elements = Elements(html)
    ids = {attributes.get("id") for _, attributes in elements.found}
    assert elements.all("html") == [{"lang": "en"}]
    assert all(attributes.get("aria-label") for _, attributes in elements.found if attributes.get("role") == "img")
    assert all(attributes["aria-labelledby"] in ids for _, attributes in elements.found if "aria-labelledby" in attributes)


def test_it_needs_no_network(html):
    elements = Elements(html)
    for _, attributes in elements.found:
        assert all(
            str(attributes[name]).startswith("#")
            for name in ("src", "href", "srcset", "action", "poster")
            if name in attributes
        )
    assert not elements.all("link")
    assert not re.search(r"url\(|@import", CSS)
    policy = next(meta["content"] for meta in elements.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'")


def test_plotly_is_there_once_and_only_for_figures(html, tmp_path):
    assert len([script for script in Elements(html).scripts if len(script) > 1_000_000]) == 1
    assert len(rendered(tmp_path, a_page(exhibits=()))) < 50_000


def test_no_text_of_a_run_becomes_markup(tmp_path):
    exhibits = [
        Figure(HOSTILE, HOSTILE, {"data": [{"name": HOSTILE}], "layout": {"title": {"text": HOSTILE}}}),
        Table(HOSTILE, HOSTILE, [HOSTILE], [[HOSTILE]]),
        ColouredText(HOSTILE, HOSTILE, [Span(HOSTILE, HOSTILE)], {HOSTILE: HOSTILE}),
        Pictures(HOSTILE, HOSTILE, [Picture("data:image/png;base64,AA==", HOSTILE)]),
    ]
    hostile = Page(HOSTILE, HOSTILE, [HOSTILE], {HOSTILE: HOSTILE}, exhibits)
    count = len(Elements(rendered(tmp_path, a_page(exhibits=[figure()]))).scripts)
    elements = Elements(rendered(tmp_path, hostile, **{HOSTILE: HOSTILE, "command": HOSTILE}))
    assert len(elements.scripts) == count
    assert not any(HOSTILE in script for script in elements.scripts)
    assert elements.text.count(HOSTILE) == 27, "each text is shown as it is"


def test_commands_in_prose_are_set_as_code_and_still_escaped():
    assert report.prose("Ask `tenfold plora compare`.") == "Ask <code>tenfold plora compare</code>."
    assert report.prose("`<b>` and <i>") == "<code>&lt;b&gt;</code> and &lt;i&gt;"
    assert report.prose("one ` alone") == "one ` alone"


def test_pictures_travel_within_the_page_and_have_words(tmp_path):
    pictures = Pictures(
        "Scenes", "What they show.", [Picture("data:image/png;base64,AA==", "A cat"), Picture("data:,", "A dog")]
    )
    images = [attrs for tag, attrs in Elements(rendered(tmp_path, a_page(exhibits=[pictures]))).found if tag == "img"]
    assert [(image["src"], image["alt"]) for image in images] == [
        ("data:image/png;base64,AA==", "A cat"),
        ("data:,", "A dog"),
    ]


def test_figures_travel_as_strict_json(tmp_path):
    html = rendered(tmp_path, a_page(exhibits=[figure(height=float("nan"), title="</SCRIPT>")]))
    assert '"layout": {"height": null, "title": "\\u003c/SCRIPT>"}' in html


@pytest.mark.parametrize(
    "pages",
    [
        (),
        (Page("T", "V", []),),
        (a_page(exhibits=[Table("T", "C", ["a"], [])]),),
        (a_page(exhibits=[ColouredText("T", "C", [], {})]),),
        (a_page(exhibits=[Pictures("T", "C", [])]),),
    ],
)
def test_what_is_missing_is_left_out(tmp_path, pages):
    html = rendered(tmp_path, *pages)
    assert html.startswith("<!doctype html>") and html.rstrip().endswith("</html>")
    assert ("no stage has finished" in html) == (not pages)


def test_columns_of_numbers_are_set_flush_right():
    table = Table("", "", ["1", "a", "b", "c"], [["1", "1.5×", "−2 (1–3)", "5"], ["2", "–", "", "five"]])
    assert report.number_columns(table) == {1, 2}


def test_each_source_has_a_style_and_a_share():
    text = ColouredText("", "", [Span("abc", "b"), Span("d", "c")], {"a": "", "b": ""})
    assert report.source_styles(text) == {"a": 0, "b": 1, "c": 2}
    assert report.shares(text.spans) == {"b": "75%", "c": "25%"}


def test_only_the_first_source_is_plain():
    styles = report.source_styles(ColouredText("", "", [], {str(number): "" for number in range(20)}))
    assert [source for source, style in styles.items() if style == 0] == ["0"]
    underlines = re.findall(r"\.source-[1-9] \{[^}]*text-decoration-style: (\w+)", CSS)
    assert len(set(underlines)) == len(underlines) == report.NUM_UNDERLINES == max(styles.values())


def test_the_same_pages_give_the_same_bytes(tmp_path):
    assert rendered(tmp_path, a_page()) == rendered(tmp_path, a_page())


def palettes() -> list[dict[str, str]]:
    """The light and the dark colours of the style sheet."""
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", CSS)
    return [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
def test_every_ink_stands_out_from_every_ground(palette):
    grounds = [palette["ground"], palette["surface"]]
    inks = [colour for name, colour in palette.items() if name not in ("ground", "surface", "line")]
    assert len(inks) == 9
    for ink, ground in product(inks, grounds):
        low, high = sorted([luminance(ink), luminance(ground)])
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{ink} on {ground}"


def test_importing_the_report_imports_neither_torch_nor_plotly():
    code = "import sys, tenfold.apps.report; sys.exit('plotly' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
