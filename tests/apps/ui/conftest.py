"""The web page in front of a tiny server, with three runs to show."""

import pytest
from fastapi import APIRouter

from serving_tiny import NAME, running
from tenfold.apps import recipes, wiring
from tenfold.apps.server import budget
from tenfold.apps.ui.pages import page_routes
from tenfold.core.config import Config
from tenfold.core.records import Figure, Page, Verb
from tenfold.llm.chat import user
from tenfold.llm.guard import GuardVerdict
from tenfold.store import runs


class Guard:
    """Blocks what is wicked, and watches nobody."""

    fingerprint = "wicked"

    def check(self, messages, rules=()):
        is_bad = any(word in messages[-1].text for word in (*rules, "wicked"))
        return GuardVerdict(*(("unsafe", "block", 0.93) if is_bad else ("safe", "allow", 0.04)))

    def watch(self, messages, rules=()):
        return Watch()


class Watch:
    """Lets everything through."""

    verdict = None

    def feed(self, chunk):
        return chunk

    def finish(self):
        return ""


def guard_routes(guard):
    """The guard's check as its home offers it, with a reason."""
    router = APIRouter()

    @router.post("/v1/guard/check", include_in_schema=False)
    def check(body: dict):
        verdict = guard.check([user(body["response"])], body["rules"])
        reason = {"reason": "It is <b>green</b>.", "evidence": "green", "rule": 2, "verified": True}
        return {
            "label": verdict.label,
            "decision": verdict.decision,
            "score": verdict.score,
            "probabilities": {"safe": 1 - verdict.score, "unsafe": verdict.score},
            "rules": body["rules"],
            **({"explanation": reason} if body["explain"] else {}),
        }

    return router


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


@pytest.fixture(scope="module")
def site(runs_root):
    """(running server, its runs)"""
    with pytest.MonkeyPatch.context() as patch:
        verb = Verb(ShapeConfig, lambda config, run: {}, str, page)
        patch.setattr(wiring, "verb", lambda name: verb)
        patch.setattr(budget, "HOPELESS", 0.0)  # a random model is guessed right once in a hundred times
        assert recipes.wiring is wiring
        pages = [page_routes(runs_root, NAME, has_guard=True), guard_routes(Guard())]
        with running(guard=Guard(), pages=pages, max_new_tokens=120, max_context=512) as server:
            yield server
