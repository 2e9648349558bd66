"""Published numbers: only complete runs, no folders of this machine, and README tables that are made, not written."""

import json

import pytest

from tenfold.apps import published, wiring
from tenfold.core.config import Config
from tenfold.core.errors import UserError
from tenfold.core.records import Verb
from tenfold.store import runs


class CountConfig(Config):
    data: str = "/some/where/specbench/question.jsonl"
    """A file."""


@pytest.fixture
def finished(tmp_path, monkeypatch):
    monkeypatch.setattr(
        wiring, "verb", lambda name: Verb(CountConfig, lambda config, run: {}, lambda m: f"total {m['total']}")
    )
    run = runs.start(tmp_path / "runs", "specdec-count", CountConfig())
    run.finish({"total": 7, "data": "/home/me/prompts.jsonl"})
    return run.folder


def test_a_result_holds_config_environment_and_metrics_without_folders(finished, tmp_path):
    record = json.loads(published.publish(finished, "count", results=tmp_path).read_text())
    assert record["verb"] == "specdec.count"
    assert record["config"] == {"data": "specbench"}
    assert record["metrics"] == {"total": 7, "data": "prompts.jsonl"}
    assert record["environment"]["python"]


def test_an_unfinished_run_is_not_published(tmp_path):
    run = runs.start(tmp_path / "runs", "specdec-count", CountConfig())
    with pytest.raises(UserError, match="not finished"):
        published.publish(run.folder, "count", results=tmp_path)


def test_marked_places_are_rewritten_and_nothing_else(finished, tmp_path):
    published.publish(finished, "count", results=tmp_path)
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- results:count -->\nstale\n<!-- /results -->\nafter\n")
    assert published.refresh([page], results=tmp_path) == [page]
    text = page.read_text()
    assert text.startswith("before\n<!-- results:count -->\n") and text.endswith("<!-- /results -->\nafter\n")
    assert "total 7" in text and "stale" not in text
    assert published.refresh([page], results=tmp_path) == []


def test_a_place_without_a_result_is_an_error(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("<!-- results:nothing -->\n<!-- /results -->\n")
    with pytest.raises(UserError, match="publish a run under that name"):
        published.refresh([page], results=tmp_path)


def test_an_overview_has_a_line_for_every_result(finished, tmp_path):
    published.publish(finished, "count", results=tmp_path)
    published.publish(finished, "count-again", results=tmp_path)
    (tmp_path / "notes.json").write_text('{"what": "not a verb"}')
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- results -->\nstale\n<!-- /results -->\nafter\n")
    published.refresh([page], results=tmp_path)
    lines = page.read_text().splitlines()
    assert [line.split(" | ")[:2] for line in lines if "specdec count" in line] == [
        ["| [`specdec count`](src/tenfold/systems/specdec/README.md) (count)", "total 7"],
        ["| [`specdec count`](src/tenfold/systems/specdec/README.md) (count-again)", "total 7"],
    ]
    assert (
        lines[0] == "before" and lines[-1] == "after" and "stale" not in lines and not any("notes" in line for line in lines)
    )


def test_publishing_one_result_leaves_the_places_of_others_alone(finished, tmp_path):
    published.publish(finished, "count", results=tmp_path)
    page = tmp_path / "README.md"
    other = "<!-- results:nothing -->\nnot yet\n<!-- /results -->\n"
    page.write_text(other + "<!-- results:count -->\n<!-- /results -->\n")
    assert published.refresh([page], name="count", results=tmp_path) == [page]
    assert page.read_text().startswith(other) and "total 7" in page.read_text()


def test_the_committed_readmes_are_what_their_results_say():
    root = published.Path(__file__).parents[2]
    for page in published.markdown_pages(root):
        for place in published.PLACE.finditer(page.read_text(encoding="utf-8")):
            assert (root / "results" / f"{place['name']}.json").is_file()
