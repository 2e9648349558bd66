"""Sets of one's own: from annotations to questions, manifest, audit and data card."""

from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from tenfold.core.errors import ConfigError, UserError
from tenfold.store import runs
from tenfold.systems.deepeval import building, data
from tenfold.systems.deepeval.items import Annotation, write_jsonl
from tenfold.systems.deepeval.tags import FACETS

ANIMALS = ["dog", "cat", "owl", "fox", "bee", "ant", "elk", "cow", "hen"]


def made(tmp_path: Path, **settings: Any) -> dict[str, Any]:
    config = building.BuildConfig(**{"proposals": 200} | settings)
    run = runs.start(tmp_path / "runs", "build", config)
    return run.finish(building.build(config, run))


def own(folder: Path, count: int = 9, *, image: str = "") -> str:
    notes = [
        Annotation(f"p{n}", f"A {name} at home.", f"The {name}", f"Every {name} matters.", image, ("funny",))
        for n, name in enumerate(ANIMALS[:count])
    ]
    write_jsonl(folder / "mine.jsonl", notes)
    return str(folder / "mine.jsonl")


def test_the_demonstration_set_is_ours_and_blind_proof(tmp_path: Path) -> None:
    metrics = made(tmp_path, facets=FACETS)
    assert metrics["annotations"] == 24 and metrics["blocks"] == {"description": 6, "title": 6, "meaning": 6}
    assert metrics["strongest_probe"] == 0.25 and metrics["num_probes"] >= 10
    found = data.load(metrics["folder"])
    assert len(found.items) == 72 and found.picture("own-01") is None
    card = (Path(metrics["folder"]) / building.CARD).read_text()
    assert "CC0" in card and "exactly 25 %" in card and "25.0% of" in card
    assert "24 annotations" in building.summary(metrics)


def test_local_pictures_come_into_the_set(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (40, 40), "teal").save(tmp_path / "one.png")
    metrics = made(tmp_path, annotations=own(tmp_path, image="one.png"), out=str(tmp_path / "set"), licence="CC BY 4.0")
    assert metrics["pictures"] == {"ok": 9} and {len(ids) for ids in metrics["left_out"].values()} == {1}
    found = data.load(str(tmp_path / "set"))
    assert found.picture(found.items[0].image_id) is not None and found.items[0].facets == ("funny",)
    assert "CC BY 4.0" in (tmp_path / "set" / "README.md").read_text()
    again = made(tmp_path, annotations=own(tmp_path, image="one.png"), out=str(tmp_path / "set2"))
    assert (tmp_path / "set" / "items.jsonl").read_bytes() == (tmp_path / "set2" / "items.jsonl").read_bytes()
    assert again["strongest_probe"] == 0.25


def test_missing_and_remote_pictures_are_counted(tmp_path: Path) -> None:
    assert made(tmp_path, annotations=own(tmp_path, image="none.png"))["pictures"] == {"gone": 9}
    assert made(tmp_path, annotations=own(tmp_path, image="https://example.org/a.png"))["pictures"] == {"to_pull": 9}


def test_bad_annotations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 7 annotations; blocks of four take at least 8"):
        made(tmp_path, annotations=own(tmp_path, 7))
    with pytest.raises(ConfigError, match="line 1: facet 'funny' is unknown"):
        made(tmp_path, annotations=own(tmp_path), facets="sad,glad")
    write_jsonl(tmp_path / "same.jsonl", [Annotation(f"p{n}", "same", "same", "same") for n in range(9)])
    with pytest.raises(UserError, match="no block of four different ones"):
        made(tmp_path, annotations=str(tmp_path / "same.jsonl"))
