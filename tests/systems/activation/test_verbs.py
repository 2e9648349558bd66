"""Every verb from settings to page on a tiny model and our own texts; a run that was cut off ends like a whole one."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from tenfold.apps import report
from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, MissingArtifactError, UnknownNameError, UserError
from tenfold.nn.named_linears import named_linears
from tenfold.store import runs
from tenfold.systems.activation import data, opened
from tenfold.systems.activation.masks import load_masks
from tenfold.systems.activation.opened import OpenedModel
from tenfold.systems.activation.verbs import VERBS
from tenfold.systems.catalogue import SYSTEMS

SETTINGS = {
    "map": {"targets": ["mean_max"], "domains": ["wiki", "code"], "per_domain": 6, "tokens": 16, "sample": 4},
    "similar": {"domains": ["wiki", "code"], "per_domain": 4, "tokens": 16, "exact_texts": 3},
    "sts": {"sets": ["own"], "background": 10, "targets": ["mean_max"]},
    "classify": {"domains": ["wiki", "code"], "centroid_texts": 5, "test_texts": 5, "tokens": 16},
    "audit": {"weights": 60, "tokens": 8},
    "prune": {"calibration_texts": 4, "calibration_tokens": 16, "report_texts": 4, "candidates": 12, "signal_texts": 2},
    "choose": {"candidates": ["wiki", "code"], "tasks": ["wiki", "code"], "per_set": 4, "tokens": 16, "report_texts": 3},
    "experts": {"domains": ["wiki", "code"], "per_domain": 3, "tokens": 16},
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch, new_tiny_model):
    """The default model's place is taken by a tiny one that reads one byte a token."""

    def open_tiny(name, *, dtype=torch.float32):
        model = new_tiny_model(vocab_size=260).to(dtype)
        return OpenedModel(name, model, lambda text: list(text.encode()), "")

    for module in ("auditing", "sts", "mapping", "classifying", "comparing", "sweeping", "chooser", "routes"):
        monkeypatch.setattr(f"tenfold.systems.activation.{module}.open_model", open_tiny)


def start(root, verb, **changes):
    return runs.start(root, f"activation-{verb}", parse(VERBS[verb].config, SETTINGS.get(verb, {}) | changes))


def finish(run, verb):
    return run.finish(VERBS[verb].run(run.config, run))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("verb", SETTINGS)
def test_verb_runs_and_tells_what_it_found(root, verb):
    run = start(root, verb)
    metrics = finish(run, verb)
    assert json.loads(json.dumps(metrics)) == metrics
    assert VERBS[verb].summary(metrics)
    page = VERBS[verb].page
    if page is not None:
        assert page(runs.read_rows(run.folder), metrics).verdict


def test_atlas_binds_what_is_there_into_one_file(root):
    for verb in ("map", "audit"):
        finish(start(root, verb), verb)
    run = start(root, "atlas")
    metrics = finish(run, "atlas")
    assert {"map", "audit"} <= set(metrics["parts"])
    page = VERBS["atlas"].page
    assert page is not None
    built = page([], metrics)
    titles = [exhibit.title for exhibit in built.exhibits]
    assert "The estimate, audited" in titles and "Density by depth, mean_max" in titles
    html = report.render("Atlas", "", [built], {}, run.folder / "report.html").read_text()
    assert built.verdict in html
    assert "Density by depth, mean_max" in html


def test_atlas_without_runs_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="activation map"):
        finish(start(tmp_path, "atlas"), "atlas")


@pytest.mark.parametrize("verb", ["audit", "prune", "map", "choose"])
def test_run_that_was_cut_off_ends_like_a_whole_one(tmp_path, verb, monkeypatch):
    whole = finish(start(tmp_path / "whole", verb), verb)
    run = start(tmp_path / "cut", verb)
    add, left = run.add, [2]

    def add_until(key, row):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return add(key, row)

    monkeypatch.setattr(run, "add", add_until)
    with pytest.raises(KeyboardInterrupt):
        VERBS[verb].run(run.config, run)
    again = runs.resume(tmp_path / "cut", f"activation-{verb}", run.config)
    assert len(again.rows) == 2
    assert finish(again, verb) == whole


def test_export_is_an_ordinary_checkpoint_with_its_masks(tmp_path):
    run = start(tmp_path, "prune", allocations=["density"], export=True)
    metrics = finish(run, "prune")
    folder = run.folder / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    masks = load_masks(folder / "masks.safetensors")
    assert masks.sparsity == pytest.approx(0.5, abs=1e-3)
    for linear in named_linears(model):
        assert not bool(linear.weight_OI[~masks.kept[linear.name]].any())
    assert json.loads((folder / "plan.json").read_text())["mean"] == 0.5
    assert metrics["50"]["density"] > 0


def test_settings_that_do_not_fit_together_are_refused():
    config = VERBS["prune"].config
    for changes, words in (
        ({"sparsities": [0.99]}, "sparsity"),
        ({"pattern": "2:4"}, "allocations=uniform"),
        ({"allocations": ["owls"]}, "owl"),
        ({"pruner": "wand"}, "wanda"),
        ({"allocations": ["table"]}, "table"),
        ({"export": True}, "one sparsity"),
    ):
        with pytest.raises(UserError, match=words):
            parse(config, changes)
    with pytest.raises(UserError, match="mean_max"):
        parse(VERBS["map"].config, {"targets": ["mean"]})
    with pytest.raises(UserError, match="two"):
        parse(VERBS["map"].config, {"domains": ["wiki"]})


def test_own_texts_are_whole_and_apart(new_tiny_model):
    model = OpenedModel("tiny", new_tiny_model(), lambda text: list(text.encode()), "")
    for domain in data.DOMAINS:
        assert len(set(data.load_texts("own", domain))) == 40
        pieces = data.load_pieces(model, "own", domain, tokens=64, count=10, skip=5)
        assert {len(piece.ids) for piece in pieces} == {64} and len({piece.key for piece in pieces}) == 10
    assert len(data.load_pairs("own", "train")) == len(data.load_pairs("own", "dev")) == 15


def test_texts_that_are_not_there_are_named(tmp_path):
    (tmp_path / "law.txt").write_text("one text")
    with pytest.raises(MissingArtifactError, match="it holds law"):
        data.load_texts(str(tmp_path), "code")
    with pytest.raises(UnknownNameError, match="set of pairs"):
        data.load_pairs("stbs", "dev")


def test_catalogue_lists_every_verb():
    assert set(SYSTEMS["activation"].verbs) == set(VERBS)
    assert SYSTEMS["activation"].status == "ready"


def test_stories_model_opens_with_its_tokens(data_folder, monkeypatch):
    monkeypatch.setenv("TENFOLD_DATA", str(data_folder))
    small = opened.open_model("stories260k")
    assert small.num_layers == 5
    assert len(small.ids("Once upon a time there was a dog", 8)) == 8
    with pytest.raises(UserError, match="empty"):
        small.ids("  ", 8)
