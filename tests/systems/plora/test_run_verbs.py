"""export, stages and verify on a finished run: what they write is right, what is broken is named."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, MissingArtifactError, NumericalError
from tenfold.core.records import Figure, Table
from tenfold.store import runs
from tenfold.systems.plora import checking, exporting, page, staging
from tenfold.systems.plora.deltas import DeltaLedger, LedgerError
from tenfold.systems.plora.opened import OpenedRun
from tenfold.systems.plora.training import TrainConfig, train
from tenfold.train.losses import mean_loss, row_losses
from tiny_chat import tiny_chat_model, tiny_tokenizer

IDS = torch.arange(3, 40)[None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 12 steps in 3 stages, on a model in a folder."""
    folder = tmp_path_factory.mktemp("home")
    tokenizer = tiny_tokenizer()
    tiny_chat_model(tokenizer).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = [{"prompt": f"what follows {n} ?", "completion": f"{n + 1} follows"} for n in range(30)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = {
        "model": str(folder / "model"),
        "data": str(folder / "rows.jsonl"),
        "max_length": 64,
        "probe_rows": 2,
        "lora": {"rank": 2},
        "training": {"max_steps": 12, "learning_rate": 1e-2, "batch_size": 8, "save_every": 3},
        "unload": {"interval": 4},
    }
    config = parse(TrainConfig, table)
    run = runs.start(folder / "runs", "plora-train", config)
    run.finish(train(config, run))
    return run


@pytest.fixture
def copied(finished, tmp_path):
    """The run again, to be broken."""
    folder = tmp_path / "runs" / "plora-train" / finished.folder.name
    shutil.copytree(finished.folder, folder)
    return folder


def perform(verb, config_type, root, **table):
    config = parse(config_type, table)
    run = runs.start(root, "plora-verb", config)
    return verb(config, run), run


def export(root, **table):
    return perform(exporting.export, exporting.ExportConfig, root, **table)


def stages(root, **table):
    return perform(staging.stages, staging.StagesConfig, root, **table)[0]


def verify(root, **table):
    return perform(checking.verify, checking.VerifyConfig, root, **table)[0]


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def test_export_of_all_stages_is_the_trained_model_twice(copied):
    root, model = copied.parent.parent, runs.read_metrics(copied)["model"]
    metrics, run = export(root, run=copied.name, merged=True)
    assert metrics["stages"] == [1, 2, 3] and metrics["rank"] == 6 and metrics["max_logit_gap"] < 1e-4
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), run.folder / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(run.folder / "merged")
    torch.testing.assert_close(logits(adapted), logits(merged), atol=1e-4, rtol=0)
    ours = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), copied / "adapter")
    torch.testing.assert_close(logits(adapted), logits(ours))
    card = (run.folder / "adapter" / "README.md").read_text()
    assert f"{metrics['max_logit_gap']:.3e}" in card and "Held-out loss" in card and f"base_model: {model}" in card
    assert "rank 6" in exporting.summary(metrics)


def test_export_of_some_stages_and_compressed(copied, tmp_path):
    root = copied.parent.parent
    metrics, _ = export(root, run=copied.name, stages="1,3", out=str(tmp_path / "out"))
    assert metrics["rank"] == 4 and (tmp_path / "out" / "adapter" / "adapter_model.safetensors").exists()
    metrics, run = export(root, run=copied.name, energy=0.9)
    assert 0.9 <= metrics["energy_kept"] < 1 and metrics["rank"] < 6
    assert "Compressed" in (run.folder / "adapter" / "README.md").read_text()
    with pytest.raises(ConfigError, match="there is no stage 4; this run has stages 1 to 3"):
        export(root, run=copied.name, stages="4")


def test_stages_tell_what_was_measured(finished):
    metrics = stages(finished.folder.parent.parent, run=finished.folder.name)
    assert [row["step"] for row in metrics["table"]] == [4, 8, None]
    assert metrics["table"][1]["total_rank"] == pytest.approx(4) and metrics["table"][0]["loss_before"] > 0
    assert "the live pair" in staging.summary(metrics)


def test_each_stage_is_left_out_in_turn(finished):
    root, trained = finished.folder.parent.parent, runs.read_metrics(finished.folder)
    metrics = stages(root, run=finished.folder.name, evaluate=True)
    assert metrics["loss"] == pytest.approx(trained["loss_after"], abs=1e-5)
    assert list(metrics["loss_without"]) == ["1", "2", "3"]
    both = stages(root, run=finished.folder.name, evaluate=True, drop="1,2,3")
    assert both["loss_without"]["1,2,3"] == pytest.approx(trained["loss_before"], abs=1e-5)
    assert both["hurt"] == [] and "stages that hurt: none" in staging.summary(both)


def test_keep_goes_back_and_training_can_go_on(copied):
    root, config = copied.parent.parent, parse(TrainConfig, runs.read_toml(copied / "config.toml"))
    before = (copied / "steps.jsonl").read_text()
    metrics = stages(root, run=copied.name, keep=1)
    assert (metrics["kept"], metrics["forgotten"]) == (1, 1) and "back at stage 1" in staging.summary(metrics)
    assert len(DeltaLedger(copied / "ledger")) == 1 and runs.read_metrics(copied) is None
    exported, _ = export(root, run=copied.name)
    assert exported["stages"] == [1] and exported["rank"] == 2
    again = train(config, runs.resume(root, "plora-train", config))
    assert again["stages"] == 3 and (copied / "steps.jsonl").read_text() == before
    with pytest.raises(ConfigError, match="keep is 9"):
        stages(root, run=copied.name, keep=9)


def test_verify_finds_all_in_order(finished):
    metrics = verify(finished.folder.parent.parent, run=finished.folder.name)
    assert metrics["stages_in_chain"] == 2 and metrics["refolded_matrices_equal"] == metrics["base_matrices_equal"] == 14
    assert metrics["max_relative_logit_gap"] < 1e-5
    assert "equal bit for bit" in checking.summary(metrics)


def test_verify_names_what_is_broken(copied):
    root = copied.parent.parent
    stage = copied / "ledger" / "stage_0001.safetensors"
    content = bytearray(stage.read_bytes())
    content[-5] ^= 1
    stage.write_bytes(content)
    with pytest.raises(LedgerError, match=r"stage 2 is broken .* stages --run RUN --keep 1"):
        verify(root, run=copied.name)
    assert stages(root, run=copied.name, keep=1)["kept"] == 1
    with pytest.raises(LedgerError, match=r"no compute\.json"):
        verify(root, run=copied.name)


def test_verify_finds_other_weights(copied, monkeypatch):
    root = copied.parent.parent
    known = json.loads((copied / "compute.json").read_text())
    first = next(iter(known))
    (copied / "compute.json").write_text(json.dumps(known | {first: "0"}))
    with pytest.raises(LedgerError, match="1 of 14 matrices, folded again, differ"):
        verify(root, run=copied.name)
    (copied / "compute.json").write_text(json.dumps(known))
    base = json.loads((copied / "ledger" / "base.json").read_text())
    base["sha256"][first] = "0"
    (copied / "ledger" / "base.json").write_text(json.dumps(base))
    for path in copied.glob("ledger/stage_*"):
        path.unlink()
    with pytest.raises(LedgerError, match="belongs to other base weights"):
        verify(root, run=copied.name)


def test_verify_finds_a_changed_function(copied, monkeypatch):
    monkeypatch.setattr(checking, "TOLERANCE", 0.0)
    with pytest.raises(NumericalError, match="changed a logit"):
        verify(copied.parent.parent, run=copied.name)


@pytest.mark.parametrize("verb", [export, stages, verify])
def test_runs_that_cannot_be_opened(finished, verb):
    root = finished.folder.parent.parent
    with pytest.raises(MissingArtifactError, match="no run is called"):
        verb(root, run="nothing")
    other = runs.start(root, "plora-other", parse(checking.VerifyConfig, {"run": "x"}))
    with pytest.raises(ConfigError, match="is a run of plora-other; give one of plora train"):
        verb(root, run=str(other.folder))
    unfinished = runs.start(root, "plora-train", parse(TrainConfig, {"max_length": 65}))
    with pytest.raises(MissingArtifactError, match="has no ledger"):
        verb(root, run=str(unfinished.folder))
    shutil.rmtree(unfinished.folder)


@pytest.mark.parametrize(
    ("table", "words"), [({"keep": 1, "evaluate": True}, "give one of the two"), ({"drop": "1"}, "add evaluate")]
)
def test_settings_that_contradict_each_other(table, words):
    with pytest.raises(ConfigError, match=words):
        parse(staging.StagesConfig, {"run": "x"} | table)


def test_page_of_a_training_run(finished):
    metrics = runs.read_metrics(finished.folder)
    built = page.build_training(runs.read_rows(finished.folder), metrics)
    assert "update of rank 6" in built.verdict and "did not help" not in built.verdict
    assert [type(exhibit) for exhibit in built.exhibits] == [Figure, Figure, Figure, Table]
    assert len(built.exhibits[0].plotly["layout"]["shapes"]) == 2
    assert "did not help" in page.build_training([], metrics | {"loss_after": 99.0}).verdict


def test_opened_model_computes_what_the_run_measured(finished):
    opened = OpenedRun(finished.folder, finished.config)
    model = opened.load()
    model.fold(*opened.chosen(opened.stages(None)))
    rows = staging._held_out(parse(staging.StagesConfig, {"run": "x"}), opened)
    loss = mean_loss(row_losses(model.model, rows))
    assert loss == pytest.approx(runs.read_metrics(finished.folder)["loss_after"], abs=1e-5)
