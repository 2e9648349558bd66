"""A run's page says what was measured, and only that."""

from pathlib import Path

import pytest

from seeing import SCENES, seeing
from tenfold.core.records import Figure, Page, Pictures, Table
from tenfold.store import runs
from tenfold.systems.deepeval import opening, page, running
from tenfold.systems.deepeval.running import RunConfig, run


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, dict, list]:
    folder: Path = tmp_path_factory.mktemp("page")
    settings = RunConfig(
        models=("seer",), data="scenes", method="letter", arms=("image", "oracle", "none"), tasks=("title", "meaning")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_model", lambda name, dtype="auto": seeing())
        patch.setattr(opening, "takes_images", lambda name: True)
        patch.setattr(running, "load", lambda name, **of: SCENES)
        done = runs.start(folder, "r", settings)
        metrics = run(settings, done)
    rows = list(done.rows.values())
    return page.build(rows, metrics), metrics, rows


def test_verdict_says_the_best_and_names_the_baseline(built):
    assert "100.0 %" in built[0].verdict
    assert "above the chance of 25 %" in built[0].verdict


def test_the_check_of_blindness_is_told(built):
    assert "exactly 25 %" in built[0].story[1]
    assert f"{built[1]['blind_readings_checked']} readings" in built[0].story[1]


def test_exhibits(built):
    kinds = [type(exhibit) for exhibit in built[0].exhibits]
    assert kinds.count(Figure) == 2
    tables = {exhibit.title: exhibit for exhibit in built[0].exhibits if isinstance(exhibit, Table)}
    assert {"The results in numbers", "Single questions", "Does one level build on the other?"} <= set(tables)
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)
    assert any("★" in cell for row in tables["Single questions"].rows for cell in row)


def test_pictures_of_our_own_scenes_are_shown_small(built):
    shown = next(exhibit for exhibit in built[0].exhibits if isinstance(exhibit, Pictures))
    assert len(shown.pictures) == 8
    assert all(picture.data_uri.startswith("data:image/") and len(picture.data_uri) < 40_000 for picture in shown.pictures)


def test_oracle_rows_stand_beside_the_words_alone(built):
    lines = [line for line in built[1]["results"] if line["arm"] == "oracle"]
    assert len(lines) == 2
    assert all(0 < line["word_overlap"] < 1 and line["over_word_overlap"]["p"] <= 1 for line in lines)


def test_nothing_scored_says_so():
    metrics = {"results": [{"accuracy": None}]}
    assert "nothing to say" in page.build([], metrics).verdict
