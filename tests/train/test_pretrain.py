"""A corpus is packed without loss and split by document; pre-training learns, and goes on after a cut to the same bits."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2MoeConfig

from conftest import build_tiny_model
from tenfold.core.errors import ConfigError, MissingArtifactError, NumericalError
from tenfold.train.losses import block_losses
from tenfold.train.packed_corpus import Corpus, CorpusConfig, load_corpus, pack, train_tokenizer
from tenfold.train.pretrain import PretrainConfig, pretrain, rate_at
from tenfold.train.texts import Document, read_documents, split_documents

CONFIG = PretrainConfig(steps=12, batch_size=2, learning_rate=1e-2, warmup_steps=2, save_every=5)
BLOCKS = torch.arange(20 * 16).view(20, 16) * 5 % 97


def a_model():
    return build_tiny_model(LlamaConfig, num_hidden_layers=1)


def write_texts(folder: Path) -> Path:
    for domain, word in (("fish", "cod and eel"), ("fowl", "hen or owl")):
        (folder / domain).mkdir(parents=True)
        for number in range(6):
            (folder / domain / f"{number}.txt").write_text(f"{number}: {word} " * 60)
    return folder


@given(st.lists(st.lists(st.integers(1, 50), max_size=30), max_size=8), st.integers(1, 7))
def test_packing_keeps_the_stream(streams: list[list[int]], length: int) -> None:
    whole = [token for ids in streams for token in [*ids, 0]]
    blocks = pack(streams, 0, length)
    assert blocks.shape == (len(whole) // length, length)
    assert blocks.ravel().tolist() == whole[: blocks.size]


@given(st.text(max_size=60))
def test_the_tokenizer_gives_every_text_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


TOKENIZER = train_tokenizer(["some words, some more words", "x = [1, 2]"], 280)


def test_documents_are_held_out_whole_and_from_each_domain() -> None:
    documents = [Document(f"{kind}/{number}", kind, "text") for kind in "abc" for number in range(20)]
    learned, held_out = split_documents(documents, 0.1)
    assert {each.id for each in learned} | {each.id for each in held_out} == {each.id for each in documents}
    assert not {each.id for each in learned} & {each.id for each in held_out}
    assert [sum(each.domain == kind for each in held_out) for kind in "abc"] == [2, 2, 2]
    with pytest.raises(ConfigError, match="cannot be split"):
        split_documents(documents[:1], 0.1)


def test_the_standard_library_is_a_corpus() -> None:
    documents = read_documents(["stdlib"])
    assert {each.domain for each in documents} == {"python source", "python documentation"}
    assert "stdlib/json/decoder.py" in {each.id for each in documents}
    assert not [each.id for each in documents if "site-packages" in each.id or "/test/" in each.id]


def test_a_corpus_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    config = CorpusConfig(sources=(str(write_texts(tmp_path / "texts")),), vocabulary=300, length=32)
    first, second = load_corpus(config), load_corpus(config)
    assert isinstance(first, Corpus) and torch.equal(first.blocks_NS, second.blocks_NS) and first.digest == second.digest
    assert set(first.domains) == {"fish", "fowl"} and len(first.documents) == len(first.held_out_NS)
    text = first.tokenizer.decode(first.held_out_NS[0])
    assert ("cod" in text) == (first.domains[0] == "fish")
    assert int(first.token_counts().sum()) == first.blocks_NS.numel()
    assert len(list((tmp_path / "cache" / "corpora").glob("[0-9a-f]*[0-9a-f]"))) == 1


def test_texts_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="no text 'nowhere'"):
        read_documents(["nowhere"])
    with pytest.raises(ConfigError, match="holds no text"):
        read_documents([str(tmp_path)])
    (tmp_path / "bad.json").write_text('[{"words": 1}]')
    with pytest.raises(ConfigError, match="entry without text"):
        read_documents([str(tmp_path)])


def test_training_lowers_the_loss_and_logs_it(tmp_path: Path) -> None:
    model = a_model()
    before = block_losses(model, BLOCKS).mean()
    steps = pretrain(model, BLOCKS, CONFIG, tmp_path)
    assert [step["step"] for step in steps] == list(range(1, 13))
    assert block_losses(model, BLOCKS).mean() < before * 0.9
    assert "extra" not in steps[0]


def test_resumed_losses_are_the_same_bits(tmp_path: Path) -> None:
    model = a_model()
    whole = pretrain(model, BLOCKS, CONFIG, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "checkpoint-12")  # as if killed after step 10 was saved
    fresh = a_model()
    assert pretrain(fresh, BLOCKS, CONFIG, tmp_path / "cut") == whole
    assert all(torch.equal(mine, other) for mine, other in zip(fresh.parameters(), model.parameters(), strict=True))


def test_experts_are_resumed_though_files_name_them_otherwise(tmp_path: Path) -> None:
    shape = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2MoeConfig(**shape, num_key_value_heads=4, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2)

    def mixture():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config)

    model = mixture()
    whole = pretrain(model, BLOCKS, CONFIG, tmp_path / "whole")
    for cut_at, name in ((12, "cut"), (None, "finished")):
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        if cut_at:
            shutil.rmtree(tmp_path / name / "checkpoints" / f"checkpoint-{cut_at}")
        fresh = mixture()
        assert pretrain(fresh, BLOCKS, CONFIG, tmp_path / name) == whole
        for (key, mine), other in zip(fresh.named_parameters(), model.parameters(), strict=True):
            assert torch.equal(mine, other), key


def test_the_loss_is_the_mean_over_tokens_whatever_the_accumulation(tmp_path: Path) -> None:
    found = []
    for batch, accumulate in ((4, 1), (2, 2)):
        config = CONFIG.model_copy(update={"batch_size": batch, "accumulate": accumulate, "steps": 4})
        model = a_model()
        losses = [step["loss"] for step in pretrain(model, BLOCKS, config, tmp_path / f"{batch}")]
        found.append((losses, torch.cat([weight.detach().flatten() for weight in model.parameters()])))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-3, rtol=0)


def test_another_loss_is_added_and_logged_apart(tmp_path: Path) -> None:
    model = a_model()
    shapes = []

    def extra(shape: tuple[int, int]) -> Tensor:
        shapes.append(shape)
        return model.lm_head.weight.square().sum()

    norm = model.lm_head.weight.norm().item()
    steps = pretrain(model, BLOCKS, CONFIG.model_copy(update={"weight_decay": 0.0}), tmp_path, extra=extra)
    assert steps[0]["extra"] == pytest.approx(norm**2, rel=1e-4)
    assert steps[0]["loss"] == pytest.approx(float(block_losses(a_model(), BLOCKS).mean()) / 15, rel=0.2)
    assert set(shapes) == {(2, 16)} and model.lm_head.weight.norm() < norm


def test_the_rate_follows_the_papers_steps() -> None:
    config = PretrainConfig(steps=100, warmup_steps=4)
    rates = [rate_at(step, config) for step in (0, 3, 4, 79, 80, 90)]
    assert rates == pytest.approx([0.2, 0.8, 1.0, 1.0, 0.316, 0.316**2])
    cosine = config.model_copy(update={"schedule": "cosine"})
    assert rate_at(100, cosine) == pytest.approx(0.1)


def test_too_few_blocks_and_bad_losses_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 blocks are fewer than batch_size 2"):
        pretrain(a_model(), BLOCKS[:1], CONFIG, tmp_path / "few")
    model = a_model()
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(NumericalError, match="the loss is nan"):
        pretrain(model, BLOCKS, CONFIG, tmp_path / "nan")
