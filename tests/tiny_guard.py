"""A guard on a tiny random model: its verdicts mean nothing, but every law of the method must hold for it."""

from functools import cache

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from tenfold.core.config import parse
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.models import LoadedModel
from tenfold.systems.shieldlm.calibrator import Calibrator
from tenfold.systems.shieldlm.guard import Guard
from tenfold.systems.shieldlm.rules import read_pack
from tenfold.systems.shieldlm.verdict import VerdictScorer
from tiny_tokenizer import tiny_tokenizer


@cache
def tiny_loaded() -> LoadedModel:
    """A tiny Llama over a byte-level tokenizer of 300 tokens."""
    return loaded_with(tiny_tokenizer())


def loaded_with(tokenizer: PreTrainedTokenizerBase) -> LoadedModel:
    """The tiny model over another tokenizer."""
    model = tiny_model(len(tokenizer))
    return LoadedModel("tiny", "", "auto", LeanLlama(model.config, model.state_dict()), tokenizer, frozenset({1}))


def tiny_model(vocab_size: int) -> PreTrainedModel:
    """Two layers of width 32, float32, the same each time."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
    for weight in model.parameters():
        weight.data = weight.data.bfloat16().float()
    return model


def tiny_scorer(**options) -> VerdictScorer:
    return VerdictScorer(tiny_loaded(), **options)


def tiny_guard(*, calibrator: Calibrator | None = None, max_tokens: int = 1500, **options) -> Guard:
    packs = [read_pack("base-en"), read_pack("base-zh")]
    return Guard(tiny_scorer(**options), calibrator or parse(Calibrator, {}), packs, max_tokens=max_tokens)
