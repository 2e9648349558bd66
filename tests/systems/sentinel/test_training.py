"""Training batches and their loss, a small comparison that is killed and resumed, and what training leaves."""

import json
import math

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch.nn import functional

from conftest import build_tiny_model
from systems.sentinel.reference import PARAGRAPH, SENTINEL, VOCAB, ToyCodec
from tenfold.apps import wiring
from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.store import runs
from tenfold.systems.sentinel import (
    bases,
    cache_results,
    cache_settings,
    caching,
    checkpoint,
    compare,
    measuring,
    needle,
    showing,
    training,
    wrapping,
)
from tenfold.systems.sentinel.arms import ARMS, Mixture, examples, separators
from tenfold.systems.sentinel.collate import Example, LiveSentinel, shifted_loss, to_batch
from tenfold.systems.sentinel.data import Window
from tenfold.systems.sentinel.layout import insert, plain
from tenfold.systems.sentinel.perplexity import token_losses
from tenfold.systems.sentinel.profiles import CompareConfig
from tenfold.systems.sentinel.rules import Rule
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig

CODEC = ToyCodec()
IDS = (SENTINEL, PARAGRAPH)


def text(seed: int, length: int = 40) -> list[int]:
    return torch.randint(0, 69, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_labels_are_the_next_original_tokens():
    """Nothing predicts the sentinel, and in memory mode the sentinel predicts nothing."""
    for mode, chunker in (("memory", "fixed:4"), ("inline", "fixed:4")):
        layout = insert(text(1), Segmenter(SentinelConfig(chunker=chunker, mode=mode), CODEC.pieces, IDS))
        for place, label in enumerate(layout.labels):
            is_sentinel, follows = layout.level[place] > 0, layout.level[place + 1 : place + 2] == (1,)
            if mode == "memory":
                assert (label < 0) == (is_sentinel or place == len(layout) - 1)
            else:
                assert (label < 0) == (follows or place == len(layout) - 1)


def test_loss_equals_a_slow_one():
    """Row by row and token by token, the sentinel's logit left out; padding and plain rows in the same batch."""
    segmenter = Segmenter(SentinelConfig(chunker="fixed:4"), CODEC.pieces, IDS)
    rows = [Example(insert(text(2), segmenter), Rule(raw="window", window=16)), Example(plain(text(3, 20)), Rule())]
    batch = to_batch(rows, "sdpa")
    logits = torch.randn(2, batch["input_ids"].shape[1], VOCAB, generator=torch.Generator().manual_seed(0))
    total, count = 0.0, 0
    for row, example in enumerate(rows):
        for place, label in enumerate(example.layout.labels):
            if label >= 0:
                scores = logits[row, place].double().clone()
                if example.layout.num_sentinels:
                    scores[list(IDS)] = -math.inf
                total -= float(scores.log_softmax(-1)[label])
                count += 1
    assert float(shifted_loss(logits, batch["labels"], IDS)) == pytest.approx(total / count, rel=1e-5)
    assert float(shifted_loss(logits, batch["labels"], IDS, 10)) == pytest.approx(total / 10, rel=1e-5)


def test_plain_rows_need_no_mask():
    batch = to_batch([Example(plain(text(4)), Rule()), Example(plain(text(5)), Rule())], "sdpa")
    assert "attention_mask" not in batch and batch["position_ids"][0].tolist() == list(range(40))


def test_perplexity_counts_every_token_but_the_first():
    model, ids = build_tiny_model(attn_implementation="sdpa"), text(6, 70)
    layout = insert(ids, Segmenter(SentinelConfig(chunker="fixed:4"), CODEC.pieces, IDS))
    blind = token_losses(model, layout, Rule(blind=True), IDS, block=16)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1]
    logits[:, list(IDS)] = -math.inf
    expected = functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
    assert len(blind) == len(ids) - 1 and torch.allclose(blind, expected, atol=1e-4)
    assert torch.allclose(
        token_losses(model, layout, Rule(), IDS, block=7), token_losses(model, layout, Rule(), IDS), atol=1e-4
    )


def test_mixture_depends_on_seed_and_number_alone():
    mixture = Mixture(0, (16, 32), 4, 8, "chunk")
    kinds = [mixture.draw(number).kind for number in range(2000)]
    assert kinds == [Mixture(0, (16, 32), 4, 8, "chunk").draw(number).kind for number in range(2000)]
    assert abs(kinds.count("all") / 2000 - 0.45) < 0.04 and abs(kinds.count("plain") / 2000 - 0.20) < 0.04


def test_peers_see_their_own_mask():
    windows, mixture = [Window("d", n, tuple(text(n))) for n in range(40)], Mixture(0, (16,), 2, 4, "chunk")
    rows = examples(ARMS["separators"], windows, None, mixture, CODEC.pieces)
    shown = [row for row in rows if row.rule.raw == "window"]
    assert shown and all(row.kept == separators(row.layout.ids, CODEC.pieces) for row in shown)
    assert all(not any(row.kept) for row in examples(ARMS["streaming"], windows, None, mixture, CODEC.pieces) if row.kept)
    assert not any(row.kept for row in examples(ARMS["lora"], windows, None, mixture, CODEC.pieces))


def test_a_dead_sentinel_stops_the_run():
    watch, model = LiveSentinel(), torch.nn.Module()
    model.trainable_tokens_delta = torch.nn.Parameter(torch.zeros(1, 4))
    state = type("State", (), {"global_step": 0})()
    watch.on_pre_optimizer_step(None, state, None, model=model)
    state.global_step = 11
    with pytest.raises(ConfigError, match="no later token reads it"):
        watch.on_pre_optimizer_step(None, state, None, model=model)
    model.trainable_tokens_delta.grad = torch.ones(1, 4)
    watch.on_pre_optimizer_step(None, state, None, model=model)
    assert watch.is_alive


TINY = {"profile": "tiny", "tokens": 600, "dev_windows": 2, "save_every": 1}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    config = parse(CompareConfig, TINY | {"arms": ["base", "lora", "sr", "lora+4%", "sr-random", "sr-inline"]})
    run = runs.start(folder, "compare", config)
    return run, compare.compare(config, run)


def test_comparison_measures_all_arms_on_the_same_tokens(compared):
    run, metrics = compared
    assert set(metrics["arms"]) == {"base", "lora", "sr", "lora+4%", "sr-random", "sr-inline"}
    assert len({found["tokens"] for found in metrics["arms"].values()}) == 1
    for found in metrics["arms"].values():
        assert found["ci"][0] <= found["ppl"] <= found["ci"][1]
    assert metrics["arms"]["lora"]["vs_lora"]["value"] == 0 and "plain_vs_lora" in metrics["arms"]["sr"]
    assert "sr" in compare.summary(metrics)
    assert wiring.verb("sentinel.compare").page(list(run.rows.values()), metrics).exhibits


def test_a_killed_comparison_ends_with_the_same_rows(compared, tmp_path, monkeypatch):
    """Killed in the third step of the second training; what was trained and measured before is not done again."""
    whole, _ = compared
    config = parse(CompareConfig, TINY | {"arms": ["base", "lora", "sr", "lora+4%", "sr-random", "sr-inline"]})
    cut = runs.start(tmp_path, "compare", config)

    def kill(self, args, state, control, **_):
        if state.global_step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LiveSentinel, "on_pre_optimizer_step", kill)
        with pytest.raises(KeyboardInterrupt):
            compare.compare(config, cut)
    done = dict(cut.rows)
    assert any(key.startswith("trained/lora/") for key in done) and not any(key.startswith("trained/sr/") for key in done)
    resumed = runs.resume(tmp_path, "compare", config)
    compare.compare(config, resumed)
    assert resumed.rows == whole.rows
    assert list(resumed.rows)[: len(done)] == list(done)


def test_adapter_loads_without_tenfold(compared):
    run, metrics = compared
    folder = compare.adapter_folder(run.folder, "sr", 0, metrics["rate"])
    base = bases.open_base("tiny").model
    plain_model = PeftModel.from_pretrained(base, str(folder))
    with torch.no_grad():
        assert torch.isfinite(plain_model(torch.tensor([[9, 8, 7]])).logits).all()
    record = json.loads((folder / "sentinel.json").read_text())
    assert record["base"] == "tiny" and record["ids"] == [2]
    tensors = load_file(folder / "adapter_model.safetensors")
    lora = sum(tensor.numel() for name, tensor in tensors.items() if "lora_" in name)
    assert sum(tensor.numel() for tensor in tensors.values()) - lora == 32  # one row


def test_engines_read_a_trained_model_alike(compared):
    run, metrics = compared
    folder = compare.adapter_folder(run.folder, "sr", 0, metrics["rate"])
    ids = bases.ByteCodec().encode("The ferry leaves twice a day. Old Marten has steered it. " * 4)
    found = [
        wrapping.load(folder, engine=engine, dtype="fp32", raw="window", window=48).losses(ids)
        for engine in ("lean", "transformers")
    ]
    assert torch.allclose(*found, atol=2e-3)


def test_another_base_is_refused(compared):
    run, metrics = compared
    folder = compare.adapter_folder(run.folder, "sr", 0, metrics["rate"])
    with pytest.raises(ConfigError, match="the base that it was trained on"):
        checkpoint.check_base(checkpoint.read(folder), "0" * 64, "another")
    with pytest.raises(MissingArtifactError, match=r"sentinel\.json"):
        checkpoint.read(run.folder)


def test_periodic_lora_keeps_the_sentinel(tmp_path):
    table = {
        "model": "tiny",
        "train": "sample",
        "dev": "sample",
        "tokens": 600,
        "dev_windows": 1,
        "dtype": "fp32",
        "sentinel": {"max_chunk": 32},
        "learn": {
            "length": 128,
            "windows": (64,),
            "tune": {"method": "plora", "settings": {"interval": 2}, "lora": {"rank": 2}, "training": {"batch_size": 1}},
        },
    }
    config = parse(training.TrainConfig, table)
    run = runs.start(tmp_path, "train", config)
    metrics = training.train(config, run)
    tensors = load_file(run.folder / "adapter" / "adapter_model.safetensors")
    assert any(checkpoint.DELTA in name for name in tensors)
    again = wrapping.load(run.folder / "adapter", engine="transformers", dtype="fp32")
    row = next(tensor for name, tensor in tensors.items() if checkpoint.DELTA in name)
    assert torch.equal(checkpoint.trained_rows(again.engine.model), row)
    assert metrics["steps"] >= 4 and wiring.verb("sentinel.train").page(list(run.rows.values()), metrics).verdict


def long_text(tmp_path) -> str:
    from tenfold.systems.sentinel.data import documents

    whole = "\n\n".join(document.text for document in documents("sample", "train"))
    path = tmp_path / "long.txt"
    path.write_text("\n\n".join([whole] * 4), encoding="utf-8")
    return str(path)


def test_caches_of_one_size_are_compared(tmp_path):
    table = {"model": "tiny", "data": long_text(tmp_path), "length": 700, "windows": 1, "fractions": [0.5], "block": 16}
    config = parse(cache_settings.CacheConfig, table | {"max_chunk": 64, "batch": [1, 2], "steps": 2, "dtype": "fp32"})
    run = runs.start(tmp_path, "cache", config)
    metrics = caching.cache(config, run)
    held = [line["held"]["0.5"] for line in metrics["contenders"].values()]
    assert max(held) <= 350 and min(held) > 250
    assert {"kv_fraction", "ppl_rise", "gap_vs_streaming", "gap_vs_separators", "decode_speedup"} <= set(metrics)
    assert metrics["kv_bytes"] == 350 * 2 * 2 * 2 * 8 * 4 * held[0] // 350
    assert wiring.verb("sentinel.cache").page(list(run.rows.values()), metrics).exhibits
    assert caching.cache(config, runs.resume(tmp_path, "cache", config)) == metrics
    assert "entries" in cache_results.summary(metrics)


def test_needles_are_scored_once_for_every_reader(tmp_path):
    table = {"model": "tiny", "data": long_text(tmp_path), "lengths": [500], "depths": [0.2], "trials": 1, "fraction": 0.5}
    config = parse(needle.NeedleConfig, table | {"max_chunk": 64, "block": 16, "dtype": "fp32"})
    run = runs.start(tmp_path, "needle", config)
    metrics = needle.needle(config, run)
    assert [found["accuracy"]["cases"] for found in metrics["readers"].values()] == [1, 1, 1]
    assert wiring.verb("sentinel.needle").page(list(run.rows.values()), metrics).exhibits
    base, model, settings, ids = needle._open(config)
    case = needle.build_cases(config, base)[0]
    lm = needle.reader("sentinels", wrapping.engine_of(model, "transformers", 1), base, settings, ids, None)
    scores = needle.scored(lm, case)
    whole = [*case.prompt, *case.candidates[3]]
    direct = -float(lm.__class__(lm.engine, lm.config, base.codec.pieces, ids).losses(whole)[len(case.prompt) - 1 :].sum())
    assert scores[3] == pytest.approx(direct, abs=1e-3)


def test_show_draws_chunks_and_mask(tmp_path):
    config = parse(
        showing.ShowConfig, {"model": "tiny", "text": "The ferry leaves. Old Marten steers it. He knows the rocks."}
    )
    run = runs.start(tmp_path, "show", config)
    metrics = showing.show(config, run)
    assert metrics["sentinels"] >= 2 and "chunks" in showing.summary(metrics)
    assert wiring.verb("sentinel.show").page(list(run.rows.values()), metrics).exhibits
    with pytest.raises(ConfigError, match="fixed:16"):
        showing.show(parse(showing.ShowConfig, {"model": "tiny", "text": "none"}), run)


def test_opt_is_refused_in_one_line():
    class Config:
        model_type = "opt"
        _attn_implementation = "sdpa"

    with pytest.raises(ConfigError, match="opt computes its positions"):
        bases.check_attention(type("Model", (), {"config": Config()})())


def test_literal_sentinels_in_a_text_are_text(smollm2):
    lm_codec = wrapping.codec_of(smollm2.tokenizer)
    ids = lm_codec.encode("before <empty_output> after")
    assert 16 not in ids and lm_codec.decode(ids) == "before <empty_output> after"
    assert lm_codec.reserved()[0] == 16


def test_changes_are_paired_by_window():
    rows = [{"document": "d", "text": "t", "window": n, "seed": 0, "nll_sum": 10.0 + n, "n_tokens": 5} for n in range(4)]
    others = [row | {"nll_sum": row["nll_sum"] - 0.5, "seed": None} for row in rows[:3]]
    found = measuring.change(rows, others)
    assert found["value"] == pytest.approx(math.exp(0.1) - 1)


def test_an_unknown_arm_is_named():
    with pytest.raises(ConfigError, match="unknown arm 'srr'"):
        parse(CompareConfig, {"arms": ["lora", "sr", "srr"]})
