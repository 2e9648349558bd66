"""The verbs end to end on a tiny model: training resumes to the same bits, its folder is a guard that every verb takes."""

import json
import shutil

import numpy as np
import pytest

from tenfold.apps import verb_command, wiring
from tenfold.core.config import parse
from tenfold.core.errors import ApparatusError, ConfigError, MissingArtifactError
from tenfold.store import runs
from tenfold.systems.shieldlm import calibrating, data
from tenfold.systems.shieldlm.audit import AuditLog
from tenfold.systems.shieldlm.items import Item, Split
from tenfold.systems.shieldlm.opening import open_guard
from tenfold.systems.shieldlm.page import evaluation_page, training_page
from tiny_guard import tiny_model
from tiny_tokenizer import tiny_tokenizer

CATEGORIES = ("Biased Opinion", "Offending User")


def invented(number, offset=0):
    """Items whose unsafe ones hold an invented word."""
    words = ("water the garden", "zorgle the frump")
    return [
        Item(
            f"train-{at + offset}",
            f"what now {at}",
            f"{words[at % 2]} {at}",
            "unsafe" if at % 2 else "safe",
            CATEGORIES[at // 2 % 2],
            f"g{at + offset}",
        )
        for at in range(number)
    ]


@pytest.fixture(autouse=True)
def little_set(monkeypatch, tmp_path):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    split = Split(invented(24), invented(30, 1000))
    for module in ("data", "evaluating"):
        monkeypatch.setattr(f"tenfold.systems.shieldlm.{module}.splits", lambda name: [split])
    assert data.splits("diasafety")[0].unseen


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = tiny_tokenizer()
    tiny_model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def perform(name, root, settings, *, resume=False):
    verb = wiring.verb(f"shieldlm.{name}")
    config = parse(verb.config, settings)
    run = (runs.resume if resume else runs.start)(root, f"shieldlm-{name}", config)
    metrics = verb_command.perform(verb, run, json=True)
    assert verb.summary(metrics)
    json.dumps(metrics)
    return run, metrics


def training(folder):
    tune = {"lora": {"rank": 2}, "training": {"batch_size": 4, "save_every": 1, "order": "length", "learning_rate": 0.01}}
    return {"model": folder, "dtype": "fp32", "tune": tune, "max_length": 96}


@pytest.fixture
def guard_run(tiny_folder, tmp_path):
    return perform("train", tmp_path, training(tiny_folder))


def test_training_leaves_a_guard_and_resumes_to_the_same_bits(guard_run, tiny_folder, tmp_path):
    run, metrics = guard_run
    assert metrics["rows"] == 24 and metrics["steps"] == 6
    kept = json.loads((run.folder / "guard.json").read_text())
    assert kept["packs"]["en"]["id"] == "base-en" and kept["style"] == "short"
    assert training_page(list(run.rows.values()), metrics).exhibits
    weights = (run.folder / "adapter/adapter_model.safetensors").read_bytes()
    (run.folder / "metrics.json").unlink()
    for checkpoint in (run.folder / "checkpoints").glob("checkpoint-[56]"):
        shutil.rmtree(checkpoint)
    shutil.rmtree(run.folder / "adapter")
    again, _ = perform("train", tmp_path, training(tiny_folder), resume=True)
    assert (again.folder / "adapter/adapter_model.safetensors").read_bytes() == weights


def test_plora_trains_a_guard_too(tiny_folder, tmp_path):
    settings = training(tiny_folder)
    settings["tune"] = {**settings["tune"], "method": "plora", "settings": {"interval": 3}}
    run, metrics = perform("train", tmp_path, settings)
    assert metrics["method"] == "plora" and (run.folder / "adapter/adapter_model.safetensors").is_file()


def test_the_trained_update_is_in_the_guard(guard_run, tiny_folder):
    run, _ = guard_run
    trained, plain = open_guard(str(run.folder)), open_guard(tiny_folder)
    assert trained.scorer.score("q", "water").logps != plain.scorer.score("q", "water").logps
    assert trained.ids["model"] != plain.ids["model"]


def test_an_unfinished_run_is_no_guard(tiny_folder, tmp_path):
    verb = wiring.verb("shieldlm.train")
    run = runs.start(tmp_path, "shieldlm-train", parse(verb.config, training(tiny_folder)))
    with pytest.raises(MissingArtifactError, match="finish"):
        open_guard(str(run.folder))


def test_eval_measures_every_part_and_resumes(tiny_folder, tmp_path):
    parts = ["labels", "flips", "irrelevant", "alarms", "injection", "explanations", "streams", "speed"]
    settings = {"guard": tiny_folder, "parts": parts, "part_limit": 3, "speed_items": 1}
    run, metrics = perform("eval", tmp_path, settings)
    assert metrics["items"] == 30 and 0 <= metrics["accuracy"] <= 1 and metrics["linear_accuracy"] == 1
    assert metrics["injection_flips"] == 0
    assert metrics["stream_leaked_characters"] == 0 and metrics["stream_difference"] < 1e-5
    assert metrics["explanations_agree"] == metrics["explanations_cite_existing"] == 1
    assert set(metrics["irrelevant_flips"]) == {"1", "3", "5", "10"}
    assert {
        "accuracy_interval",
        "f1_safe_interval",
        "f1_unsafe_interval",
        "ece",
        "ece_interval",
        "rule_gain_interval",
    } <= metrics.keys()
    page = evaluation_page(list(run.rows.values()), metrics)
    assert len(page.exhibits) >= 4
    stored = (run.folder / "results.jsonl").read_text()
    assert "zorgle" not in stored and "garden" not in stored
    (run.folder / "metrics.json").unlink()
    lines = stored.splitlines(keepends=True)
    (run.folder / "results.jsonl").write_text("".join(lines[:20]))
    _, again = perform("eval", tmp_path, settings, resume=True)
    timed = {key for key in metrics if "speed" in key or "prefill" in key}
    assert {k: v for k, v in again.items() if k not in timed} == {k: v for k, v in metrics.items() if k not in timed}


def test_eval_reads_a_file_of_ones_own(tiny_folder, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"query": f"q{n}", "response": f"r {n}", "label": n % 2, "category": "Privacy"} for n in range(8)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, metrics = perform("eval", tmp_path, {"guard": tiny_folder, "data": str(pairs), "parts": ["labels", "flips"]})
    assert metrics["items"] == 8 and metrics["flip_items"] == 4 and "linear_accuracy" not in metrics


def test_calibrate_from_an_eval_run_leaves_a_guard_with_thresholds(guard_run, tmp_path, monkeypatch):
    folder = str(guard_run[0].folder)
    scored, _ = perform("eval", tmp_path, {"guard": folder})
    settings = {"guard": folder, "scores": str(scored.folder), "alpha": 0.3, "beta": 0.3}
    run, metrics = perform("calibrate", tmp_path, settings)
    assert metrics["items_map"] + metrics["items_thresholds"] == 30
    guard = open_guard(str(run.folder))
    assert guard.calibrator.limits["en"].alpha == 0.3 and guard.check("q", "water").decision in ("allow", "review", "block")
    with pytest.raises(ConfigError, match="give an eval run of this guard"):
        perform("calibrate", tmp_path, {**settings, "guard": str(run.folder)})
    with pytest.raises(ConfigError, match="at least"):
        perform("calibrate", tmp_path, {**settings, "alpha": 0.01})


def test_calibrate_scores_items_itself_and_streams_them(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "held_out_items", lambda name: invented(20))
    settings = {"guard": tiny_folder, "alpha": 0.3, "beta": 0.3, "prior": "contextual", "stream_items": 8}
    run, _ = perform("calibrate", tmp_path, settings)
    guard = open_guard(str(run.folder))
    assert guard.calibrator.stream_limits["en"].num_safe == 4
    item = invented(1)[0]
    assert calibrating.highest_score(guard, item) >= guard.check(item.query, item.response).score - 1e-6


def test_check_judges_texts_and_keeps_a_log(tiny_folder, tmp_path):
    log = tmp_path / "log.jsonl"
    settings = {"guard": tiny_folder, "response": "water", "rules": ["bias:strict"], "explain": True, "audit": str(log)}
    _, metrics = perform("check", tmp_path, settings)
    assert metrics["explanation"]["label"] == metrics["label"] and len(metrics["attributions"]) == 1
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"query": "q", "response": f"r {n}"}) + "\n" for n in range(3)))
    _, metrics = perform("check", tmp_path, {"guard": tiny_folder, "file": str(pairs), "audit": str(log)})
    assert metrics["texts"] == 3 == metrics["allow"] + metrics["review"] + metrics["block"]
    _, found = perform("audit", tmp_path, {"log": str(log)})
    assert found == {"action": "verify", "records": 4, "valid": True}
    content = bytearray(log.read_bytes())
    content[20] ^= 1
    log.write_bytes(bytes(content))
    with pytest.raises(ApparatusError, match="record 0"):
        perform("audit", tmp_path, {"log": str(log)})
    with pytest.raises(ConfigError, match="one of the two"):
        perform("check", tmp_path, {"guard": tiny_folder})


def test_audit_shows_and_redacts(tmp_path):
    log = AuditLog(tmp_path / "log.jsonl", keeps_text=True, sync=False)
    for number in range(3):
        log.append(f"text {number}", {"decision": "allow"})
    _, shown = perform("audit", tmp_path, {"log": str(log.path), "action": "show", "last": 2})
    assert [row["seq"] for row in shown["records"]] == [1, 2]
    _, found = perform("audit", tmp_path, {"log": str(log.path), "action": "redact", "seq": 1})
    assert found["erased"] and "text 1" not in log.texts_path.read_text()
    perform("audit", tmp_path, {"log": str(log.path)})


def test_score_compares_policies_and_asks_models(tiny_folder, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"query": f"q{n}", "response": "r", "label": n % 2}) + "\n" for n in range(4)))
    settings = {"guard": tiny_folder, "file": str(pairs), "policies": ["none", "strict"]}
    _, metrics = perform("score", tmp_path, settings)
    assert set(metrics["policies"]) == {"none", "strict"} and metrics["policies"]["none"]["gap"] is not None
    _, metrics = perform("score", tmp_path, {**settings, "model": tiny_folder, "max_tokens": 2, "policies": ["none"]})
    assert metrics["answers"] == 4
    with pytest.raises(ConfigError, match="policy"):
        perform("score", tmp_path, {**settings, "policies": ["lose"]})


def test_stream_shows_where_it_stops(tiny_folder, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("water the garden. " * 12)
    settings = {"guard": tiny_folder, "file": str(text), "stride": 16}
    run, metrics = perform("stream", tmp_path, {**settings, "threshold": 1.0})
    assert not metrics["tripped"] and metrics["released_characters"] == metrics["characters"]
    assert len(run.rows) == metrics["probes"] > 1
    _, metrics = perform("stream", tmp_path, {**settings, "threshold": 0.0})
    assert metrics["tripped"] and metrics["released_characters"] == 0 and metrics["probes"] == 1
    text.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        perform("stream", tmp_path, settings)


def test_mix_writes_rows_that_trainers_read(tmp_path):
    from tenfold.train.rows import read_rows

    run, metrics = perform("mix", tmp_path, {"most": 3})
    rows = read_rows(run.folder / "mixed.jsonl")
    assert len(rows) == metrics["rows"] == 24
    assert {row.completion for row in rows} == {"[Answer] safe", "[Answer] unsafe"}


def test_rules_are_shown_linted_and_tested(tiny_folder, tmp_path):
    _, shown = perform("rules", tmp_path, {"action": "show"})
    assert "bias:strict" in shown["rules"]
    _, linted = perform("rules", tmp_path, {"pack": "base-zh"})
    assert linted["errors"] == 0
    _, tested = perform("rules", tmp_path, {"action": "test", "guard": tiny_folder})
    assert tested["examples"] == 10 and np.isfinite(tested["right"])
