"""Tiny random Llamas for tests of drafters that run a network."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tenfold.nn.drafting import Drafter
from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.linear import Kernel
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.rounds import Speculation
from tenfold.systems.specdec.speculate import speculate

VOCAB = 61
GREEDY = GenerationSettings()


def tiny_llama(seed: int = 0, *, num_layers: int = 3, kernel: Kernel | None = None, positions: int = 300) -> LeanLlama:
    """A random model whose choices vary; its widths are not probed, as that takes longer than the tests."""
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    state = {name: weight * 4 for name, weight in LlamaForCausalLM(config).bfloat16().state_dict().items()}
    engine = LeanLlama(config, state, kernel=kernel)
    engine.seeks_exactness = False
    return engine


def loaded(engine: Any, tokenizer: Any = None) -> LoadedModel:
    """A loaded model, by default without a tokenizer."""
    return LoadedModel(
        name="tiny",
        path="",
        dtype="auto",
        engine=engine,
        tokenizer=tokenizer,
        eos_ids=frozenset(),
    )


def plain(engine: LeanLlama, prompt: list[int], num_tokens: int, settings: GenerationSettings = GREEDY) -> list[int]:
    return list(generate(engine, prompt, settings, Stopper(max_new_tokens=num_tokens)).tokens)


def speculated(
    engine: LeanLlama, drafter: Drafter, prompt: list[int], num_tokens: int, settings: GenerationSettings = GREEDY
) -> Speculation:
    result = speculate(engine, prompt, settings, Stopper(max_new_tokens=num_tokens), drafter=drafter, num_draft=4)
    assert not getattr(result, "dropped_drafts", ()), result
    return result
