"""Every verb runs on tiny models, tells its result, and makes its page; wrong input is told in one line."""

from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from conftest import build_tiny_model
from systems.moe.tiny import tiny_model
from tenfold.core.config import parse
from tenfold.core.errors import ConfigError
from tenfold.core.records import Page
from tenfold.store import runs
from tenfold.systems.catalogue import find
from tenfold.systems.moe.verbs import VERBS
from tenfold.train.packed_corpus import train_tokenizer

SMALL = {
    "shape": {"width": 16, "layers": 2, "heads": 2, "inner": 32},
    "training": {"steps": 3, "batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 0},
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("texts")
    for domain, words in (("sea", "cod eel ray "), ("air", "hen owl jay ")):
        (folder / domain).mkdir()
        for number in range(6):
            (folder / domain / f"{number}.txt").write_text(f"{number} {words}" * 40)
    return str(folder)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def saved(model: Any, folder: Path) -> str:
    tokenizer = train_tokenizer(["cod eel ray hen owl jay"], 300)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def corpus(texts: str, **changes: Any) -> dict[str, Any]:
    return {"sources": (texts,), "vocabulary": 300, "length": 16, "held_out": 0.3, **changes}


def work(tmp_path: Path, name: str, table: dict[str, Any]) -> tuple[dict[str, Any], Page | None]:
    verb = VERBS[name]
    config = parse(verb.config, table)
    run = runs.start(tmp_path / "runs", f"moe-{name}", config)
    metrics = run.finish(verb.run(config, run))
    assert verb.summary(metrics)
    return metrics, verb.page([*run.rows.values()], metrics) if verb.page else None


def test_the_catalogue_names_the_verbs() -> None:
    assert set(find("moe").verbs) == set(VERBS) and find("moe").status == "ready"


def test_training_ladder_and_balance_have_pages(tmp_path: Path, texts: str) -> None:
    _, page = work(tmp_path, "train", {"corpus": corpus(texts), **SMALL})
    assert page and "held-out documents" in page.verdict and len(page.exhibits) == 2
    rungs = ("dense", "switch", "dense-x16")
    _, page = work(tmp_path, "ladder", {"corpus": corpus(texts), "rungs": rungs, "seeds": (0,), **SMALL})
    assert page and "cannot be told" in page.verdict and len(page.exhibits) == 4
    _, page = work(tmp_path, "balance", {"corpus": corpus(texts), "seeds": (0,), "methods": ("none", "bias"), **SMALL})
    assert page and "bias" in page.verdict


def test_upcycling_starts_equal_and_its_run_is_analysed_and_exported(tmp_path: Path, texts: str) -> None:
    shape = {"vocab_size": 300, "intermediate_size": 64, "num_hidden_layers": 2, "tie_word_embeddings": True}
    model = saved(build_tiny_model(LlamaConfig, **shape), tmp_path / "dense")
    table = {"model": model, "corpus": corpus(texts), "training": {"steps": 3, "batch_size": 2}, "partition": "activation"}
    metrics, page = work(tmp_path, "upcycle", table)
    assert abs(metrics["ce_gap_at_start"]) < 1e-3 and metrics["ce_after"] and metrics["ce_dense_after"]
    assert page and "computes the same" in page.verdict
    run = str(next((tmp_path / "runs" / "moe-upcycle").iterdir()))
    found, page = work(tmp_path, "analyse", {"model": run, "corpus": corpus(texts, tokenizer="")})
    assert set(found["analyses"]) == {*VERBS_OF_ANALYSIS} and page and len(page.exhibits) == 8
    for form in ("deepseek", "qwen2_moe"):
        exported, _ = work(tmp_path, "export", {"model": run, "to": form})
        assert exported["difference"] < 1e-4 and exported["serve"]


VERBS_OF_ANALYSIS = ("loads", "disable_top", "fewer_k", "shared_swap", "domain", "vocabulary", "coactivation")


def test_converting_alone_leaves_a_model(tmp_path: Path, texts: str) -> None:
    shape = {"vocab_size": 300, "intermediate_size": 64, "num_hidden_layers": 2}
    model = saved(build_tiny_model(LlamaConfig, **shape), tmp_path / "dense")
    metrics, page = work(tmp_path, "upcycle", {"model": model, "corpus": corpus(texts), "training": {"steps": 0}})
    assert metrics["ce_after"] is None and page
    assert next((tmp_path / "runs" / "moe-upcycle").glob("*/start/config.json"))


def test_saturation_compares_with_earlier_checkpoints(tmp_path: Path, texts: str) -> None:
    last, first = (saved(tiny_model(seed, vocab_size=300), tmp_path / str(seed)) for seed in (0, 1))
    table = {"model": last, "earlier": (first, last), "what": ("saturation",), "corpus": corpus(texts)}
    metrics, page = work(tmp_path, "analyse", table)
    found = metrics["analyses"]["saturation"]
    assert found["overlap"]["0"] == 1.0 > found["overlap"]["1"] and page
    with pytest.raises(ConfigError, match="needs earlier checkpoints"):
        work(tmp_path, "analyse", {"model": last, "what": ("saturation",), "corpus": corpus(texts)})
    with pytest.raises(ConfigError, match="'loadz' is unknown"):
        work(tmp_path, "analyse", {"model": last, "what": ("loadz",), "corpus": corpus(texts)})


def test_a_dense_model_is_not_analysed(tmp_path: Path, texts: str) -> None:
    model = saved(build_tiny_model(LlamaConfig, vocab_size=300), tmp_path / "dense")
    with pytest.raises(ConfigError, match="without routed experts"):
        work(tmp_path, "analyse", {"model": model, "corpus": corpus(texts)})


def test_a_bench_times_everything(tmp_path: Path) -> None:
    shape = {"width": 64, "layers": 1, "experts": 4, "chosen": 2, "shared": 1, "expert_width": 16, "vocabulary": 64}
    metrics, page = work(tmp_path, "bench", {**shape, "length": 16, "decoded": 2, "rounds": 2})
    assert set(metrics["types"]) == {"fp32", "bf16"} and page
    speeds = metrics["types"]["fp32"]["decoding"]["tokens_per_second"]
    assert set(speeds) == {"tenfold_sorted", "grouped_mm", "eager", "batched_mm", "dense"}
    assert metrics["speedup_vs_transformers"] > 0 and metrics["fraction_of_dense"] > 0
    with pytest.raises(ConfigError, match="peers must name grouped_mm"):
        work(tmp_path, "bench", {"peers": ("eager",)})
