"""The comparison on a random model: all methods in one table, fair, resumable, with a page that may say no."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import ApparatusError, ConfigError, UserError
from tenfold.core.records import Figure, Table
from tenfold.store import runs
from tenfold.systems.plora import page
from tenfold.systems.plora.comparing import compare, summary
from tenfold.systems.plora.material import load_material, num_tokens, rows_in_time
from tenfold.systems.plora.methods import load_tokenizer, model_of, num_stages
from tenfold.systems.plora.profiles import CompareConfig
from tenfold.systems.plora.unit import Unit, measure, run_apart

GOLDEN = Path(__file__).parent / "golden_tiny.json"
SMALL = {"profile": "tiny", "rows": 16, "save_every": 2, "probe_rows": 4, "dev_rows": 4, "text_blocks": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The profile `tiny` in this process: each unit as it is measured apart, without the start of a process."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TENFOLD_DATA", str(tmp_path_factory.mktemp("nothing")))
    config = parse(CompareConfig, {"profile": "tiny", "exact_rows": 2})
    run = runs.start(tmp_path_factory.mktemp("runs"), "plora-compare", config)
    metrics = compare(config, run, measure=measure)
    patch.undo()
    return config, run, metrics


def test_every_method_is_in_the_table_and_lora_is_the_yardstick(whole):
    config, _, metrics = whole
    lines = {line["method"]: line for line in metrics["methods"]}
    assert list(lines) == list(config.methods)
    for key in ("learning_ability_vs_lora", "peak_memory_vs_lora", "time_vs_lora"):
        assert list(metrics[key]) == list(config.methods)[1:]
    assert lines["lora"]["learning_ability"]["dev"]["value"] == pytest.approx(1.0)
    assert metrics["same_first_batch"] and metrics["steps"] == 40 and metrics["stages"] == 4
    assert lines["lora"]["rank"] == 1 and 2 < lines["plora"]["rank"] <= 4 and lines["fullft"]["rank"] > 8
    assert lines["lora-wide"]["trainable"] == 4 * lines["lora"]["trainable"] == 4 * lines["plora"]["trainable"]
    assert lines["lora"]["unload_seconds"] == 0 < lines["plora"]["unload_seconds"]
    assert set(lines["plora"]) >= {"peak_anonymous_bytes", "tokens_per_second", "forgetting", "exact_match", "unparsable"}
    assert "PeriodicLoRA" in summary(metrics)


TOLERANCE = {"relora": 0.5}
"""Which moments fall under its threshold depends on the last bits, and these on the processor."""


def test_golden_numbers(whole):
    """What training computes; not what it costs."""
    golden = json.loads(GOLDEN.read_text())
    metrics = whole[2]
    found = {
        line["method"]: [line["train_probe_loss"], line["dev_loss"], line["forgetting"], line["rank"]]
        for line in metrics["methods"]
    }
    assert found.keys() == golden.keys()
    for method, numbers in golden.items():
        assert found[method] == pytest.approx(numbers, abs=TOLERANCE.get(method, 0.05)), method


def test_a_finished_comparison_repeats_nothing(whole):
    config, run, metrics = whole

    def never(*_):
        raise AssertionError("a finished unit was measured again")

    again = compare(config, runs.resume(run.folder.parent.parent, "plora-compare", config), measure=never)
    assert again == json.loads(json.dumps(metrics))


def test_the_page_says_what_was_measured(whole):
    _, run, metrics = whole
    rows = list(run.rows.values())
    built = page.build_comparison(rows, metrics)
    assert "PeriodicLoRA" in built.verdict and "its memory" in built.verdict
    assert "says nothing of the methods" in built.story[-1] and "one seed only" in built.story[-1]
    assert [type(exhibit) for exhibit in built.exhibits] == [Figure, Figure, Table]
    curves = built.exhibits[1].plotly
    assert len(curves["data"]) == 6 and len(curves["layout"]["shapes"]) == 3
    assert json.dumps(curves)


@pytest.mark.parametrize(
    ("interval", "words"),
    [([0.4, 0.6], "learned less than LoRA"), ([0.9, 1.2], "cannot be told apart"), ([1.1, 1.4], "learned more than LoRA")],
)
def test_verdicts(whole, interval, words):
    ability = {"value": sum(interval) / 2, "interval": interval}
    lines = [line | {"learning_ability": {"train_probe": ability, "dev": ability}} for line in whole[2]["methods"]]
    assert words in page.build_comparison(list(whole[1].rows.values()), whole[2] | {"methods": lines}).verdict


def test_no_verdict_where_lora_gained_nothing(whole):
    lines = [line | {"learning_ability": {"train_probe": None, "dev": None}} for line in whole[2]["methods"]]
    built = page.build_comparison(list(whole[1].rows.values()), whole[2] | {"methods": lines})
    assert "Nothing can be said" in built.verdict and len(built.exhibits) == 2


def test_the_best_rate_on_dev_is_taken(tmp_path, monkeypatch):
    def pretend(config, unit, folder):
        loss = {0.0: 10.0, 0.1: 5.0, 0.2: 3.0, 0.3: 4.0}[unit.rate]
        nats = {"nats": [loss, loss], "tokens": [1, 1]}
        told = {"losses": [9.0], "unloads": [], "trainable": 1, "rank": 1.0, "peak_anonymous": 2, "peak_device": None}
        told |= {"seconds": 1.0, "seconds_per_step": 1.0, "tokens_per_second": 1.0, "unload_seconds": 0.0, "tokens": 2}
        return {"method": unit.method, "rate": unit.rate, "seed": unit.seed, "rows": 2, "contention": None} | told | {
            "probe": nats, "dev": nats, "text_loss": 1.0
        }  # fmt: skip

    config = parse(
        CompareConfig,
        {"profile": "tiny", "methods": "lora,plora", "adapter_rates": [0.1, 0.2, 0.3], "seeds": [0, 1]},
    )
    run = runs.start(tmp_path, "plora-compare", config)
    metrics = compare(config, run, measure=pretend)
    assert {line["method"]: line["rate"] for line in metrics["methods"]} == {"lora": 0.2, "plora": 0.2}
    assert len(run.rows) == config.num_units + 1 == 9
    assert metrics["dev_loss_by_rate"]["plora"] == {"0.1": 5.0, "0.2": 3.0, "0.3": 4.0}


def test_a_killed_unit_goes_on_from_its_checkpoint_in_a_process_of_its_own(tmp_path):
    """Killed after step 3 of 8; then `run_apart` finishes it, to the losses of a run that was never killed."""
    config, unit = parse(CompareConfig, SMALL | {"methods": "lora,plora"}), Unit("plora", 1e-2)
    folder = tmp_path / "killed"
    folder.mkdir()
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from tenfold.core.config import parse
        from tenfold.systems.plora import unit
        from tenfold.systems.plora.profiles import CompareConfig

        class Deadly(unit.StepMeter):
            def on_step_begin(self, args, state, control, **more):
                super().on_step_begin(args, state, control, **more)
                if state.global_step == 3:
                    os.kill(os.getpid(), signal.SIGKILL)

        unit.StepMeter = Deadly
        table = eval(sys.argv[2])
        unit.measure(parse(CompareConfig, table), unit.Unit("plora", 1e-2), Path(sys.argv[1]))
        """
    )
    words = [sys.executable, "-c", script, str(folder), repr(SMALL | {"methods": "lora,plora"})]
    killed = subprocess.run(words, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert (folder / "checkpoints" / "checkpoint-2").exists() and not (folder / "row.json").exists()
    row = run_apart(config, unit, folder)
    (tmp_path / "whole").mkdir()
    expected = measure(config, unit, tmp_path / "whole")
    for key in ("losses", "unloads", "probe", "dev", "text_loss", "rank", "tokens"):
        assert row[key] == expected[key], key
    assert not (folder / "checkpoints").exists()
    assert run_apart(config, unit, folder) == row, "a finished unit is read"


def test_what_a_unit_says_is_passed_on(tmp_path, monkeypatch):
    config = parse(CompareConfig, SMALL)
    (tmp_path / "failure.json").write_text("{}")

    class Process:
        returncode = 2

        def __init__(self, command, **_):
            (tmp_path / "failure.json").write_text(json.dumps({"exit_code": 2, "message": "no such model"}))

        def wait(self):
            return self.returncode

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(subprocess, "Popen", Process)
    with pytest.raises(UserError, match=r"lora-0.1-0: no such model"):
        run_apart(config, Unit("lora", 0.1), tmp_path)
    Process.__init__ = lambda self, command, **_: None
    Process.returncode = -9
    with pytest.raises(ApparatusError, match="its process ended with -9"):
        run_apart(config, Unit("lora", 0.1), tmp_path)


def test_settings_start_from_the_profile():
    config = parse(CompareConfig, {"profile": "tiny", "rank": 3})
    assert (config.model, config.rank, config.batch_size) == ("random", 3, 4)
    assert parse(CompareConfig, config.model_dump(mode="json")) == config
    assert parse(CompareConfig, {}).profile == "cpu"
    assert parse(CompareConfig, {"profile": "gpu"}).num_units == 6 * 7


@pytest.mark.parametrize(
    ("table", "words"),
    [({"methods": "plora"}, "add it"), ({"profile": "big"}, "profile is 'big'"), ({"methods": "lora,dora"}, "methods")],
)
def test_wrong_settings_are_refused(table, words):
    with pytest.raises(ConfigError, match=words):
        parse(CompareConfig, table)


def test_rows_are_cut_to_the_time(monkeypatch, tmp_path):
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path))
    table = {"model": "random", "data": "arithmetic", "max_length": 400, "rows": 400}
    tokenizer = load_tokenizer("random")
    material = load_material(parse(CompareConfig, table), tokenizer)
    assert len(material.train) % 4 == 0
    counts = {
        minutes: len(load_material(parse(CompareConfig, table | {"minutes": minutes}), tokenizer).train)
        for minutes in (30, 60)
    }
    assert 0 < counts[30] < len(material.train) < counts[60]
    config = parse(CompareConfig, table)
    tokens = num_tokens(material.train) * config.epochs * 1.25 * 1.1
    assert config.num_units * tokens / 150 < config.minutes * 60
    with pytest.raises(ConfigError, match="give more minutes, fewer methods or seeds"):
        rows_in_time(parse(CompareConfig, table | {"minutes": 5}), material.train, material.dev, material.text)


def test_all_methods_see_the_same_rows_in_the_same_order(tmp_path):
    config = parse(CompareConfig, SMALL)

    def seen(method: str) -> list:
        from tenfold.systems.plora.methods import training_of, unload_of
        from tenfold.systems.plora.unload import PeriodicUnload
        from tenfold.train.finetune import finetune

        tokenizer = load_tokenizer("random")
        rows = load_material(config, tokenizer).train
        model, batches = model_of(config, method, 0, len(rows)), []
        model.get_input_embeddings().register_forward_pre_hook(
            lambda module, inputs: batches.append(inputs[0].tolist()) if module.training else None
        )
        settings = unload_of(config, method, 0, len(rows))
        callbacks = [PeriodicUnload(settings, tmp_path / method)] if settings else []
        finetune(model, tokenizer, rows, training_of(config, 1e-3, 0), tmp_path / method, callbacks=callbacks)
        return batches

    first = seen("lora")
    assert len(first) == 8
    assert seen("plora") == seen("fullft") == first


def test_a_wide_lora_is_as_wide_as_all_stages():
    config = parse(CompareConfig, SMALL)
    assert num_stages(config, 16) == 4
    model = model_of(config, "lora-wide", 0, 16)
    settings = model.peft_config["default"]
    assert settings.r == 4 * config.rank and settings.lora_alpha / settings.r == config.alpha / config.rank
