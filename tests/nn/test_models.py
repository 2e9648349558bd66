"""From names to models: what is found, what is missed and how that is said, and the conversion of GGUF files."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import GPT2Config, PreTrainedTokenizerFast

from tenfold.core.errors import MissingArtifactError, UnknownNameError
from tenfold.nn import models
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.transformers_lm import TransformersLM

TOKENS = [5, 9, 33, 96, 1, 17]


def save(model, folder):
    model.save_pretrained(folder)
    words = Tokenizer(WordLevel({"[UNK]": 0, **{f"w{number}": number for number in range(1, 97)}}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tiny_llama, tmp_path_factory):
    return save(tiny_llama, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def gguf(tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF")
    return file


@torch.inference_mode()
def reference(model):
    return model(torch.tensor([TOKENS])).logits[0, -1]


@pytest.mark.parametrize("dtype", ["auto", "fp32", "bf16"])
def test_a_local_llama_loads_into_the_lean_engine(folder, tiny_llama, dtype):
    loaded = models.load(str(folder), dtype=dtype)
    assert isinstance(loaded.engine, LeanLlama)
    assert loaded.eos_ids == {2}
    assert loaded.tokenizer("w5 w9")["input_ids"] == [5, 9]
    accuracy = 5e-2 if dtype == "bf16" else 1e-3  # the compiled product rounds its inputs to bf16
    assert torch.allclose(loaded.engine.prefill([TOKENS])[0], reference(tiny_llama), atol=accuracy)


def test_a_local_model_of_another_kind_loads_into_transformers_engine(new_tiny_model, tmp_path):
    model = new_tiny_model(GPT2Config, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    loaded = models.load(str(save(model, tmp_path / "gpt2")))
    assert isinstance(loaded.engine, TransformersLM)
    assert torch.allclose(loaded.engine.prefill([TOKENS])[0], reference(model), atol=1e-5)


def test_all_shards_are_read(tiny_llama, tmp_path):
    save(tiny_llama, tmp_path)
    tiny_llama.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert torch.allclose(models.load(str(tmp_path)).engine.prefill([TOKENS])[0], reference(tiny_llama), atol=1e-4)


def test_every_token_that_ends_a_text_counts(folder, tiny_llama, tmp_path):
    save(tiny_llama, tmp_path)
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [2, 7]}))
    assert models.load(str(tmp_path)).eos_ids == {2, 7}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./absent", "no model folder './absent'; give a folder, a .gguf file, a hub id, or smollm2"),
        ("/absent/folder", "no model folder"),
        ("~/absent", "no model folder"),
        ("a/b/c", "no model folder"),
        ("absent.gguf", "no GGUF file 'absent.gguf'"),
    ],
)
def test_a_path_that_is_not_there_is_missed(name, words):
    with pytest.raises(MissingArtifactError) as caught:
        models.resolve(name)
    assert words in str(caught.value)


def test_nearly_an_alias_is_answered_with_the_alias():
    with pytest.raises(UnknownNameError, match="did you mean 'smollm2'"):
        models.resolve("smolm2")


def test_a_hub_id_that_cannot_be_reached_is_missed_in_one_line():
    with pytest.raises(MissingArtifactError) as caught:
        models.load("nobody/no-such-model")
    assert "'nobody/no-such-model'" in str(caught.value)
    assert "accepted are a folder with config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def break_config(folder):
    (folder / "config.json").write_text("{")


def break_weights(folder):
    os.truncate(folder / "model.safetensors", 5000)


def lose_a_tensor(folder):
    state = load_file(folder / "model.safetensors")
    save_file({name: state[name] for name in sorted(state)[1:]}, folder / "model.safetensors", metadata={"format": "pt"})


def remove_config(folder):
    (folder / "config.json").unlink()


def remove_weights(folder):
    (folder / "model.safetensors").unlink()


def remove_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


@pytest.mark.parametrize(
    "damage", [break_config, break_weights, lose_a_tensor, remove_config, remove_weights, remove_tokenizer]
)
def test_a_damaged_folder_is_missed_in_one_line(tiny_llama, tmp_path, damage):
    damage(save(tiny_llama, tmp_path))
    with pytest.raises(MissingArtifactError, match="cannot load model") as caught:
        models.load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_gguf_file_is_converted_once(gguf, monkeypatch):
    made = []

    def convert(source, folder):
        made.append(source)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(models, "_convert", convert)
    first = models.resolve(str(gguf))
    assert models.resolve(str(gguf)) == first == str(models.conversion_folder(gguf, "tiny"))
    assert made == [gguf]


def test_another_file_under_the_same_name_is_converted_again(gguf, monkeypatch):
    monkeypatch.setattr(models, "_convert", lambda source, folder: None)
    first = models.resolve(str(gguf))
    gguf.write_bytes(b"GGUF, but longer")
    assert models.resolve(str(gguf)) != first


def test_a_conversion_that_failed_half_way_leaves_no_model(gguf, monkeypatch):
    def fail(source, folder):
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "_convert", fail)
    with pytest.raises(KeyboardInterrupt):
        models.resolve(str(gguf))
    assert not models.conversion_folder(gguf, "tiny").exists()


def test_a_file_that_is_no_gguf_is_missed_in_one_line(gguf):
    with pytest.raises(MissingArtifactError, match="cannot load model") as caught:
        models.resolve(str(gguf))
    assert "\n" not in str(caught.value)


def test_quiet_swallows_stderr_and_gives_it_back(capsys):
    with models.quiet():
        print("unheard", file=sys.stderr)
    print("heard", file=sys.stderr)
    assert capsys.readouterr().err == "heard\n"


def test_chat_without_a_template_is_the_plain_text(folder):
    tokenizer = models.load_tokenizer(str(folder))
    assert models.chat_ids(tokenizer, [{"role": "system", "content": "w1"}, {"role": "user", "content": "w2 w3"}]) == [
        1,
        2,
        3,
    ]


def test_chat_with_a_template_waits_for_the_assistant(folder):
    tokenizer = models.load_tokenizer(str(folder))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }} w9 {% endfor %}{% if add_generation_prompt %}w8{% endif %}"
    )
    assert models.chat_ids(tokenizer, [{"role": "user", "content": "w2"}]) == [2, 9, 8]


@pytest.mark.model
def test_default_model_has_the_checksums_it_was_written_with(smollm2):
    assert models.verify_checksums(Path(smollm2.path))
    assert smollm2.tokenizer.convert_tokens_to_ids("<|im_end|>") in smollm2.eos_ids


@pytest.mark.model
def test_default_model_says_what_transformers_says(smollm2):
    ids = models.chat_ids(smollm2.tokenizer, [{"role": "user", "content": "What is the capital of France?"}])
    with torch.inference_mode():
        expected_V = models.load_transformers(smollm2.path, "fp32")(torch.tensor([ids])).logits[0, -1]
    for engine, accuracy in ((smollm2.engine, 3e-2), (models.load("smollm2", kernel="packed").engine, 1e-4)):
        engine.reset()
        got_V = engine.prefill([ids])[0]
        assert ((got_V - expected_V).abs().max() / expected_V.abs().max()).item() <= accuracy


@pytest.mark.model
def test_default_model_keeps_the_bit_law_over_a_block_border(smollm2):
    engine = smollm2.engine
    tokens = torch.randint(0, engine.vocab_size, (268,), generator=torch.Generator().manual_seed(0)).tolist()
    assert engine.exactness == "bit"
    engine.reset()
    engine.prefill([tokens[:240]])
    one_by_one = torch.cat([engine.forward(torch.tensor([[token]]))[0] for token in tokens[240:]])
    for sizes in ([28], [5, 7, 11, 5], [14, 14]):
        engine.rollback([len(tokens) - 240])
        pieces = torch.tensor(tokens[240:]).split(sizes)
        assert torch.equal(torch.cat([engine.forward(piece[None])[0] for piece in pieces]), one_by_one)
