"""Rungs have equal sizes, a small ladder trains, compares and goes on after a cut; loads and biases do what they say."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from systems.moe.tiny import tiny_config, tiny_model
from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.store import runs
from tenfold.systems.moe import balancing, counting, ladder, training
from tenfold.systems.moe.comparison import LossTable
from tenfold.systems.moe.flops import count_parameters
from tenfold.systems.moe.loads import LoadMeter, LoadReport, move_bias
from tenfold.systems.moe.modeling import DeepseekForCausalLM
from tenfold.systems.moe.rungs import RUNGS, solve
from tenfold.systems.moe.taps import counted

EQUAL = ("hash", "switch", "gshard", "shared", "fine", "deepseekmoe", "deepseekmoe-2-shared", "half", "dense-x16")
SMALL = {
    "shape": {"width": 16, "layers": 2, "heads": 2, "inner": 32},
    "training": {"steps": 4, "batch_size": 2, "save_every": 2, "learning_rate": 1e-2, "warmup_steps": 0},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("texts")
    for domain, words in (("sea", "cod eel ray "), ("air", "hen owl jay ")):
        (folder / domain).mkdir()
        for number in range(8):
            (folder / domain / f"{number}.txt").write_text(f"{number} {words}" * 40)
    return {"sources": (str(folder),), "vocabulary": 300, "length": 16, "held_out": 0.3}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize("name", EQUAL)
def test_rungs_have_the_parameters_of_sixteen_layers(name: str) -> None:
    keys = solve(RUNGS[name], 352).keys
    counts = count_parameters(tiny_config(**{"num_key_value_heads": 4, **keys}))
    rest = count_parameters(tiny_config(num_key_value_heads=4, n_routed_experts=None, intermediate_size=0))
    routers = 3 * 32 * (keys["n_routed_experts"] or 0) if keys["router"] == "topk" else 0
    assert counts.total - rest.total - routers == 3 * 16 * 3 * 32 * 352
    activated = counts.activated - rest.total - routers
    assert activated == round(3 * RUNGS[name].activated_ffns * 3 * 32 * 352)


def test_every_rung_can_be_made() -> None:
    for point in RUNGS.values():
        found = solve(point, 320)
        assert abs(found.residual) <= 0.01
        with torch.device("meta"):
            DeepseekForCausalLM(tiny_config(**found.keys))


def test_widths_that_miss_are_refused_with_the_next_that_fits() -> None:
    with pytest.raises(ConfigError, match="next inner width that fits is") as error:
        solve(RUNGS["deepseekmoe"], 100)
    solve(RUNGS["deepseekmoe"], int(str(error.value).rsplit(" ", 1)[1]))


@given(st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(any))
def test_a_load_report_is_what_its_formulas_say(counts: list[int]) -> None:
    report, load = LoadReport.of(torch.tensor(counts)), np.array(counts, dtype=float)
    assert report.max_violation == pytest.approx(load.max() / load.mean() - 1)
    assert report.variation == pytest.approx(load.std() / load.mean())
    assert report.dead == (load < 0.1 * load.mean()).sum()
    assert 0 <= report.entropy <= 1 + 1e-9


def test_device_loads_and_empty_counts() -> None:
    report = LoadReport.of(torch.tensor([4, 0, 1, 3]), num_devices=2)
    assert report.max_violation == 1.0 and report.device_max_violation == 0.0
    with pytest.raises(ConfigError, match="no choice was counted"):
        LoadReport.of(torch.zeros(4))


def test_a_bias_counts_in_the_choice_alone_and_evens_the_load() -> None:
    model = tiny_model(balance_bias=True, initializer_range=0.5).train()
    router, x = model.model.layers[1].mlp.gate, torch.randn(400, 32, generator=torch.Generator().manual_seed(0)) + 0.4
    before = LoadReport.of(torch.bincount(router(x)[2].flatten(), minlength=8))
    for _ in range(300):
        move_bias(router, torch.bincount(router(x)[2].flatten(), minlength=8), 3e-3)
    logits, weight, expert = router(x)
    assert LoadReport.of(torch.bincount(expert.flatten(), minlength=8)).max_violation < 0.1 < before.max_violation
    torch.testing.assert_close(weight, logits.softmax(-1).gather(-1, expert))
    with pytest.raises(ConfigError, match="has no bias"):
        move_bias(tiny_model().model.layers[1].mlp.gate, torch.ones(8), 0.1)


def test_a_meter_counts_what_the_routers_choose() -> None:
    model, ids = tiny_model().train(), torch.arange(24).view(2, 12)
    meter = LoadMeter(model)
    model(ids)
    assert all(torch.equal(meter.counts[name], count) for name, count in counted(tiny_model(), ids).items())
    meter.on_step_end(None, type("State", (), {"global_step": 1}), None)
    assert meter.steps[0]["step"] == 1 and all(len(count) == 0 for count in meter.counts.values())


def test_intervals_draw_documents_and_seeds() -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(30, 3, size=(3, 40))
    table = LossTable({"a": base, "b": base + 1, "c": base + generator.normal(0, 4, (3, 40))}, [10.0] * 40)
    better = table.estimate(lambda own, other: own - other, "a", "b")
    assert better.value == pytest.approx(-0.1) and better.low == pytest.approx(better.high)
    unclear = table.estimate(lambda own, other: own - other, "c", "a")
    assert unclear.low < unclear.value < unclear.high
    assert table.loss("a") == pytest.approx(base.mean() / 10)


def test_a_ladder_compares_and_goes_on_after_a_cut(tmp_path: Path, corpus: dict) -> None:
    names = ["dense", "hash", "deepseekmoe", "dense-x16"]
    config = parse(ladder.LadderConfig, {"rungs": names, "seeds": (0, 1), "corpus": corpus, **SMALL})
    run = runs.start(tmp_path, "moe-ladder", config)
    metrics = ladder.ladder(config, run)
    assert list(metrics["rungs"]) == names and metrics["documents"] == 4
    for each in metrics["rungs"].values():
        assert each["ci"][0] <= each["loss"] <= each["ci"][1] and len(each["by_seed"]) == 2
    assert metrics["order_is_the_papers"] is None  # switch and gshard are missing
    assert set(metrics["differences"]) == {"hash - dense", "deepseekmoe - hash"}
    assert ladder.summary(metrics)
    cut = runs.start(tmp_path, "moe-cut", config)
    for key in ("dense/0", "hash/0"):
        cut.add(key, {name: value for name, value in run.rows[key].items() if name != "key"})
    again = ladder.ladder(config, cut)
    losses = [{name: each["by_seed"] for name, each in found["rungs"].items()} for found in (metrics, again)]
    assert losses[0] == losses[1]
    with pytest.raises(UnknownNameError):
        ladder.ladder(config.model_copy(update={"rungs": ("gshart",)}), run)


def test_a_training_run_leaves_a_model_and_its_record(tmp_path: Path, corpus: dict) -> None:
    table = {"rung": "deepseekmoe", "corpus": corpus, "balance": {"bias_rate": 0.01}, "snapshots": 1, **SMALL}
    config = parse(training.TrainConfig, table)
    run = runs.start(tmp_path, "moe-train", config)
    metrics = training.train(config, run)
    row = run.rows["unit"]
    assert metrics["loss"] == row["loss"] and len(row["training"]) == len(row["loads"]) == 4
    model = DeepseekForCausalLM.from_pretrained(run.folder / "model")
    assert any(bool(buffer.any()) for name, buffer in model.named_buffers() if name.endswith("gate.bias"))
    assert (run.folder / "model" / "moe.json").is_file() and (run.folder / "snapshots" / "step-2").is_dir()
    assert training.summary(metrics)
    shutil.rmtree(run.folder / "checkpoints" / "checkpoint-4")
    cut = runs.start(tmp_path, "moe-train", config)
    shutil.copytree(run.folder / "checkpoints", cut.folder / "checkpoints")
    shutil.copy(run.folder / "steps.jsonl", cut.folder)
    assert training.train(config, cut)["loss"] == metrics["loss"]


def test_ways_of_balancing_are_compared(tmp_path: Path, corpus: dict) -> None:
    config = parse(balancing.BalanceVerbConfig, {"seeds": (0,), "corpus": corpus, **SMALL})
    metrics = balancing.balance(config, runs.start(tmp_path, "moe-balance", config))
    assert set(metrics["methods"]) == {"none", "loss", "bias"}
    assert "loss_added" in metrics["methods"]["bias"] and "loss_added" not in metrics["methods"]["none"]
    assert balancing.summary(metrics)
    with pytest.raises(ConfigError, match="no learned router"):
        balancing.balance(config.model_copy(update={"rung": "dense"}), runs.start(tmp_path, "moe-balance", config))


def test_flops_of_the_paper_and_of_a_checkpoint(tmp_path: Path) -> None:
    config = parse(counting.FlopsConfig, {})
    metrics = counting.flops(config, runs.start(tmp_path, "moe-flops", config))
    assert all(row["agrees"] for row in metrics["table"]) and counting.summary(metrics)
    tiny_config().save_pretrained(tmp_path / "model")
    table = {"model": str(tmp_path / "model"), "length": 64, "tokens_per_second": 1e6, "peak_teraflops": 1.0}
    found = counting.flops(parse(counting.FlopsConfig, table), runs.start(tmp_path, "moe-flops", config))
    assert found["parameters"] == count_parameters(tiny_config()).total
    assert found["utilisation"] == pytest.approx(found["flops_per_token"] * 1e6 / 1e12)
