"""Speculation within a grammar writes what plain decoding within it writes, whatever is guessed."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from guessing import Guesser
from tenfold.nn.constrain import json_schema_constraint
from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.constrained import ConstrainedLaw
from tenfold.systems.specdec.requests import Request
from tenfold.systems.specdec.speculate import Silent, speculate_many
from tenfold.systems.specdec.verifiers.coupled import Coupled
from tiny_tokenizer import tiny_tokenizer

EOS = {1}
TOKENIZER = tiny_tokenizer()
SCHEMA = {
    "type": "object",
    "properties": {"is": {"type": "boolean"}, "size": {"type": "integer"}},
    "required": ["is", "size"],
}


@pytest.fixture(scope="module")
def engine():
    config = LlamaConfig(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    torch.manual_seed(2)
    return LeanLlama(config, LlamaForCausalLM(config).state_dict())


def constrained_request(prompt, settings, num_tokens):
    law = ConstrainedLaw(settings, json_schema_constraint(TOKENIZER, SCHEMA, eos_ids=EOS), len(prompt))
    verifier = Coupled() if settings.do_sample else None
    return Request(prompt, settings, Stopper(max_new_tokens=num_tokens, eos_ids=EOS), law_of=law, verifier=verifier)


@settings(max_examples=15)
@given(prompt=st.lists(st.integers(2, 90), min_size=1, max_size=6), seed=st.integers(0, 99), tree=st.booleans())
def test_guessed_or_not_the_greedy_text_is_that_of_plain_decoding(engine, prompt, seed, tree):
    constraint = json_schema_constraint(TOKENIZER, SCHEMA, eos_ids=EOS)
    stopper = Stopper(max_new_tokens=24, eos_ids=EOS)
    plain = list(generate(engine, prompt, GenerationSettings(), stopper, constraint=constraint).tokens)
    drafter = Guesser([[*prompt, *plain]], seed=seed, tree=tree)
    request = constrained_request(prompt, GenerationSettings(), 24)
    found = speculate_many(engine, [request], drafters=[drafter], num_draft=4)[0]
    assert list(found.tokens) == plain


@settings(max_examples=15)
@given(prompt=st.lists(st.integers(2, 90), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_sampled_texts_follow_the_schema_and_the_seed_alone(engine, prompt, seed):
    drawn = GenerationSettings(do_sample=True, temperature=1.0, seed=seed)
    silent = speculate_many(engine, [constrained_request(prompt, drawn, 40)], drafters=[Silent()], num_draft=4)[0]
    guesser = Guesser([[*prompt, *silent.tokens]], seed=seed)
    guessed = speculate_many(engine, [constrained_request(prompt, drawn, 40)], drafters=[guesser], num_draft=4)[0]
    assert list(guessed.tokens) == list(silent.tokens)
    if silent.stop_reason == "eos":
        assert json.loads(TOKENIZER.decode(list(silent.tokens), skip_special_tokens=True)).keys() == {"is", "size"}
