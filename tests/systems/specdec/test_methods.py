"""Baselines by name: what they need, what is said where it is missing, and that they answer as asked."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import UnknownNameError
from tenfold.nn import models
from tenfold.systems.specdec import methods
from tenfold.systems.specdec.comparison import summary
from tenfold.systems.specdec.methods import ASSISTED, LLAMA_CPP, Baselines, check_baselines
from tenfold.systems.specdec.specbench import SpecBenchConfig, skipped_baselines

PROMPT = [5, 9, 5, 9, 5]


@pytest.fixture
def loaded(tiny_folder):
    loaded = models.load(str(tiny_folder), dtype="fp32")
    loaded.engine.seeks_exactness = False  # trying widths takes longer than the tests
    return loaded


def test_assisted_generation_gives_transformers_own_text(loaded, tiny_folder):
    makes = Baselines(str(tiny_folder), "fp32", assistant=str(tiny_folder))
    assert makes.missing(ASSISTED) is None
    plain, assisted = (makes.make(name, loaded)(PROMPT, 10) for name in ("transformers", ASSISTED))
    assert list(assisted.tokens) == list(plain.tokens)
    assert len(assisted.tokens) == 10
    assert 0 < assisted.prefill_seconds <= assisted.total_seconds


class FakeLlama:
    """Counts on from the prompt's last token; llama.cpp's interface as far as we use it."""

    def __init__(self, path, **keywords):
        self.path, self.keywords, self.resets = path, keywords, 0

    def reset(self):
        self.resets += 1

    def generate(self, tokens, *, temp, repeat_penalty):
        assert temp == 0.0
        assert repeat_penalty == 1.0
        token = tokens[-1]
        while True:
            token += 1
            yield token


@pytest.fixture
def fake_llama_cpp(monkeypatch):
    module = ModuleType("llama_cpp")
    module.__spec__ = ModuleSpec("llama_cpp", None)
    module.Llama = FakeLlama
    monkeypatch.setitem(sys.modules, "llama_cpp", module)
    methods._llama_cpp.cache_clear()
    yield
    methods._llama_cpp.cache_clear()


def test_llama_cpp_stops_at_the_limit_and_at_the_end(loaded, tmp_path, fake_llama_cpp):
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    makes = Baselines(str(gguf), "auto")
    assert makes.missing(LLAMA_CPP) is None
    method = makes.make(LLAMA_CPP, loaded)
    assert list(method([1, 2], 4).tokens) == [3, 4, 5, 6]
    (eos,) = loaded.eos_ids
    assert list(method([eos - 2], 9).tokens) == [eos - 1, eos]
    assert method.model.resets == 2
    assert method.model.path == str(gguf)


def test_what_is_missing_is_said_and_skipped(tiny_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    monkeypatch.setattr(methods, "find_spec", lambda name: None)
    names = f"greedy,{ASSISTED},{ASSISTED}-fp32,{LLAMA_CPP}"
    config = parse(SpecBenchConfig, {"model": str(tiny_folder), "baselines": names})
    skipped = skipped_baselines(config)
    assert skipped.keys() == {ASSISTED, f"{ASSISTED}-fp32", LLAMA_CPP}
    assert "--assistant" in skipped[ASSISTED]
    assert "not installed" in skipped[LLAMA_CPP]
    metrics = {
        "prompts": 1,
        "mean_accepted_tokens": 1.0,
        "identical_fraction": 1.0,
        "exactness": "bit",
        "tokens_per_second": {},
        "contention": 0.0,
        "skipped_baselines": skipped,
    }
    assert "skipped: the package llama_cpp is not installed" in summary(metrics)


def test_llama_cpp_needs_a_gguf_file(tiny_folder, fake_llama_cpp):
    assert "needs a GGUF file" in (Baselines(str(tiny_folder), "auto").missing(LLAMA_CPP) or "")


def test_unknown_baselines():
    with pytest.raises(UnknownNameError, match="did you mean 'llama-cpp'"):
        check_baselines(["lama-cpp"])
