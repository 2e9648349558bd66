"""Our own scenes: 64 different pictures, the same on every run; factor quads as all combinations of two facets."""

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tenfold.core.errors import UnknownNameError
from tenfold.store import runs
from tenfold.systems.deepeval import drawing
from tenfold.systems.deepeval.decoding import decode
from tenfold.systems.deepeval.items import TASKS, read_items
from tenfold.systems.deepeval.manifest import Manifest
from tenfold.systems.deepeval.scenes import album

SCENES = list(album.all_scenes().values())


def test_there_are_sixteen_situations_with_four_pictures_each() -> None:
    assert len(SCENES) == 64 and len({scene.situation for scene in SCENES}) == 16
    for task in TASKS:
        texts = [scene.annotation.text(task) for scene in SCENES]
        assert len(set(texts)) == 64 and not any("{" in text or text != text.strip() for text in texts)
    assert all(len(scene.annotation.facets) == 2 for scene in SCENES)


def test_all_pictures_differ_and_each_facet_can_be_seen() -> None:
    """Two pictures of one situation differ in a visible part of their pixels, whichever facet is changed."""
    small = {scene.image_id: np.asarray(album.render_scene(scene.image_id, size=64), dtype=int) for scene in SCENES}
    assert len({pixels.tobytes() for pixels in small.values()}) == 64
    for start in range(0, 64, 4):
        for one, two in combinations(SCENES[start : start + 4], 2):
            moved = np.abs(small[one.image_id] - small[two.image_id]).max(axis=2) > 40
            assert moved.sum() >= 5, (one.image_id, two.image_id)


def test_drawings_are_the_same_on_every_machine() -> None:
    pixels = b"".join(album.render_scene(scene.image_id, size=96).tobytes() for scene in SCENES)
    assert hashlib.sha256(pixels).hexdigest()[:16] == "ef05caafe6df56d4"


def test_the_seed_changes_details_only() -> None:
    one, two = (album.render_scene("scene-boat-00", seed=seed, size=64).tobytes() for seed in (0, 1))
    assert one != two and one == album.render_scene("scene-boat-00", size=64).tobytes()
    assert album.picture("scene-boat-00", size=64) == album.picture("scene-boat-00", size=64)


def test_an_unknown_scene_is_named_with_the_nearest() -> None:
    assert album.picture("scene-boot-00") is None
    with pytest.raises(UnknownNameError, match="scene-boat-00"):
        album.render_scene("scene-boot-00")


def test_factor_quads_hold_all_combinations_of_two_facets() -> None:
    questions = album.load_factors()
    for start in range(0, 64, 4):
        block = questions.items[start : start + 4]
        assert len({item.block for item in block}) == len({item.options for item in block}) == 1
        assert [item.gold for item in block] == [0, 1, 2, 3]
        assert all(item.answer == questions.annotations[item.image_id].description for item in block)
        facets = {item.facets for item in block}
        assert len(facets) == 4 and [len({pair[place] for pair in facets}) for place in (0, 1)] == [2, 2]


def test_the_verb_writes_a_set_that_can_be_used(tmp_path: Path) -> None:
    config = drawing.ScenesConfig(out=str(tmp_path / "set"), size=64)
    run = runs.start(tmp_path, "scenes", config)
    metrics = run.finish(drawing.scenes(config, run))
    assert metrics["scenes"] == 64 and metrics["strongest_probe"] == 0.25
    assert metrics["questions"] == {"ordinary": 192, "factors": 64}
    items = read_items(tmp_path / "set" / "items.jsonl") + read_items(tmp_path / "set" / "factors.jsonl")
    manifest = Manifest(tmp_path / "set")
    for image_id in {item.image_id for item in items}:
        picture = manifest.picture(image_id)
        assert picture is not None and decode(picture.data).size == (64, 64)
    page = drawing.page(list(run.rows.values()), metrics)
    assert "64 drawn scenes" in page.verdict and "25.0% exactly" in drawing.summary(metrics)
    assert album.load().items == read_items(tmp_path / "set" / "items.jsonl")
