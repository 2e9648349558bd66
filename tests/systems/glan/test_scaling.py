"""Shards, merged ledgers and Ray workers give the data of one process, to the last byte, and repeat no call."""

import importlib.util

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.store import runs
from tenfold.systems.glan import scaling
from tenfold.systems.glan.generating import GenerateConfig, generate
from tenfold.systems.glan.merging import MergeConfig, describe, merge

DISCIPLINES = ("Algebra", "Baking", "Logic")
SETTINGS = {"disciplines": DISCIPLINES, "teacher": "scripted", "subjects": 2, "queries": 2, "questions": 3}
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: tenfold[scale]")


def made(tmp_path, **settings):
    config = parse(GenerateConfig, SETTINGS | settings)
    run = runs.start(tmp_path, "glan-generate", config)
    return generate(config, run), run.folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return made(tmp_path_factory.mktemp("whole"))


def merged(tmp_path, *ledgers):
    config = parse(MergeConfig, {"ledgers": ",".join(map(str, ledgers)), "out": str(tmp_path / "all.sqlite")})
    return merge(config, runs.start(tmp_path, "glan-merge", config))


def test_merged_shards_are_the_whole_without_a_further_call(tmp_path, whole):
    files = [tmp_path / f"{number}.sqlite" for number in (1, 2)]
    parts = [made(tmp_path, shard=f"{number}/2", ledger=str(file))[0] for number, file in enumerate(files, 1)]
    assert sum(part["asked"] for part in parts) == whole[0]["asked"]
    first, second = merged(tmp_path, *files), merged(tmp_path, *reversed(files))
    assert first["digest"] == second["digest"] and "2 ledgers" in describe(first)
    metrics, folder = made(tmp_path, ledger=str(tmp_path / "all.sqlite"))
    assert metrics["asked"] == 0
    assert (folder / "pairs.jsonl").read_bytes() == (whole[1] / "pairs.jsonl").read_bytes()


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "/"])
def test_shards_that_do_not_exist_are_refused(tmp_path, shard):
    with pytest.raises(UserError, match="i/n"):
        made(tmp_path, shard=shard)


def test_shards_hold_everything_once():
    items = list(range(11))
    dealt = [item for number in range(1, 5) for item in scaling.dealt(items, (number, 4))]
    assert sorted(dealt) == items


def test_workers_without_ray_are_told_what_to_do(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(scaling, "import_module", missing)
    with pytest.raises(UserError, match=r"tenfold\[scale\]"):
        made(tmp_path, workers=2)


@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_ray_joins_the_cluster_that_the_environment_names_or_starts_its_own(tmp_path, monkeypatch, address):
    asked = {}

    class Ray:
        @staticmethod
        def is_initialized():
            return False

        @staticmethod
        def init(**settings):
            asked.update(settings)
            raise ConnectionError("no cluster in a test")

    monkeypatch.setattr(scaling, "import_module", lambda name: Ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionError):
        made(tmp_path, workers=3)
    assert asked["address"] == (address or "local")
    assert asked.get("num_cpus") == (None if address else 3), "Ray refuses limits for a cluster that runs already"


@needs_ray
@pytest.mark.filterwarnings("ignore")
def test_two_ray_workers_make_the_same_data_and_ask_for_nothing_twice(tmp_path, whole):
    ledger = tmp_path / "main.sqlite"
    metrics, folder = made(tmp_path, workers=2, ledger=str(ledger))
    assert metrics["asked"] == whole[0]["asked"]
    assert (folder / "pairs.jsonl").read_bytes() == (whole[1] / "pairs.jsonl").read_bytes()
    more, folder = made(tmp_path, workers=2, ledger=str(ledger), disciplines=(*DISCIPLINES, "Cooking"))
    fresh, _ = made(tmp_path, disciplines=("Cooking",))
    assert more["asked"] == fresh["asked"], "a further discipline costs its own subtree, and nothing else"
