"""The pages without a browser: what they hold, what they refuse, and that nothing outside the runs is given out."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from tenfold.apps.ui import runs as shown
from tenfold.apps.ui.comparing import change
from tenfold.apps.ui.pages import page_routes


def get(site, path, **more):
    return httpx.get(site.url + path, **more)


@pytest.fixture
def listed(runs_root):
    return {(len(run.browsers) and "view") or (run.metrics and "done") or "begun": run for run in shown.every(runs_root)}


def test_the_chat_loads_nothing_from_elsewhere(site):
    reply = get(site, "/")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "http://" not in reply.text.replace(site.url, "") and "https://" not in reply.text
    for name in ("ui.css", "chat.js", "icon.svg"):
        assert get(site, f"/static/{name}").status_code == 200
    assert get(site, "/static/nothing.js").status_code == 404


def test_runs_are_listed_newest_first_with_their_state(site, listed):
    text = get(site, "/runs").text
    places = [text.index(listed[kind].id) for kind in ("begun", "view", "done")]
    assert places == sorted(places)
    assert text.count("unfinished") == 1 and text.count("complete") >= 2


def test_a_run_shows_its_report_its_numbers_and_its_pages(site, listed):
    run = listed["view"]
    text = get(site, f"/runs/{run.id}").text
    assert f"/runs/{run.id}/files/view/index.html" in text
    assert "area.inner" in text and "&lt;script&gt;" in text and "<script>alert" not in text
    report = get(site, f"/runs/{run.id}/report").text
    assert "A shape has sides." in report and "<b>Not bold" not in report
    assert "A tree of shapes" in get(site, f"/runs/{run.id}/files/view/index.html").text


def test_an_unfinished_run_says_so_and_has_no_report(site, listed):
    run = listed["begun"]
    assert "Unfinished" in get(site, f"/runs/{run.id}").text
    reply = get(site, f"/runs/{run.id}/report")
    assert reply.status_code == 404 and "is not finished" in reply.text


@pytest.mark.parametrize(
    "path", ["view/secret.key", "../../../etc/passwd", "%2e%2e/%2e%2e/config.toml", "log.txt", "/etc/passwd", "view"]
)
def test_only_pages_inside_a_run_are_given_out(site, listed, path):
    assert get(site, f"/runs/{listed['view'].id}/files/{path}").status_code == 404


def test_two_runs_side_by_side(site, listed):
    text = get(site, "/compare", params={"run": [listed["done"].id, listed["view"].id]}).text
    assert "corners" in text and "colour" not in text
    assert "+25.0 %" in text
    assert get(site, "/compare", params={"run": [listed["done"].id]}).status_code == 400
    assert get(site, "/compare", params={"run": ["shapes-draw/none", "x/y"]}).status_code == 404
    assert get(site, "/compare").status_code == 400
    assert get(site, "/guard").status_code == 200
    assert get(site, "/runs/shapes-draw/none").status_code == 404


def test_changes_of_numbers():
    assert change([2, 3]) == "+50.0 %"
    assert change([-2, -3]) == "-50.0 %"
    assert [change(pair) for pair in ([0, 1], [1, 1], [True, False], ["a", "b"], [None, 1], [1, 2, 3])] == [""] * 6


def test_without_runs_the_page_says_how_to_start_one(tmp_path):
    app = FastAPI()
    app.include_router(page_routes(tmp_path, "m"))

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            return (await client.get("/runs")).text

    assert "tenfold run recipes/lifecycle.toml" in asyncio.run(ask())
