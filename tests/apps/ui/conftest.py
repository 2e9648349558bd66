"""The web page in front of a tiny server, with three runs to show."""

import pytest

from serving_tiny import NAME, running
from tenfold.apps import recipes, wiring
from tenfold.apps.ui.pages import page_routes
from tenfold.core.config import Config
from tenfold.core.records import Figure, Page, Verb
from tenfold.store import runs


class ShapeConfig(Config):
    """Draw a shape."""

    corners: int = 3
    """How many."""
    colour: str = "blue"
    """Which."""


def page(rows, metrics):
    figure = Figure(
        "Sides", "How long each is.", {"data": [{"type": "bar", "x": ["a"], "y": [metrics["side"]]}], "layout": {}}
    )
    return Page(title="Look: shapes", verdict="A shape has sides.", story=["<b>Not bold.</b>"], facts={}, exhibits=[figure])


@pytest.fixture(scope="session")
def runs_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for corners, side in ((3, 2.0), (4, 2.5)):
        run = runs.start(root, "shapes-draw", ShapeConfig(corners=corners))
        run.finish({"side": side, "area": {"inner": corners * side}, "name": "<script>alert(1)</script>"})
    (run.folder / "view").mkdir()
    (run.folder / "view" / "index.html").write_text("<!doctype html><title>Tree</title><h1>A tree of shapes</h1>")
    (run.folder / "view" / "secret.key").write_text("not to be shown")
    runs.start(root, "shapes-draw", ShapeConfig(corners=5))
    return root


@pytest.fixture(scope="session")
def site(runs_root):
    """(running server, its runs)"""
    with pytest.MonkeyPatch.context() as patch:
        verb = Verb(ShapeConfig, lambda config, run: {}, str, page)
        patch.setattr(wiring, "verb", lambda name: verb)
        assert recipes.wiring is wiring
        with running(pages=[page_routes(runs_root, NAME)], max_new_tokens=120, max_context=512) as server:
            yield server
