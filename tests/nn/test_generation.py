"""Plain decoding against Transformers' `generate`, and the promises about stops, streams and seeds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.nn.transformers_lm import TransformersLM

prompts = st.lists(st.integers(0, 96), min_size=1, max_size=12)


@pytest.fixture(scope="module", params=["lean", "transformers"])
def engine(request, tiny_llama):
    return LeanLlama(tiny_llama.config, tiny_llama.state_dict()) if request.param == "lean" else TransformersLM(tiny_llama)


def continued(engine, prompt, *, eos_ids=(), **changes):
    chosen = GenerationSettings(**{"max_new_tokens": 16, **changes})
    return generate(engine, prompt, chosen, Stopper(max_new_tokens=chosen.max_new_tokens, eos_ids=eos_ids))


@settings(max_examples=10)
@given(prompt=prompts, penalty=st.sampled_from([1.0, 1.5]))
def test_greedy_tokens_are_those_of_generate(engine, tiny_llama, prompt, penalty):
    theirs = tiny_llama.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=16,
        do_sample=False,
        repetition_penalty=penalty,
        pad_token_id=0,
    )[0, len(prompt) :].tolist()
    ours = continued(engine, prompt, eos_ids=[2], repetition_penalty=penalty)
    assert list(ours.tokens) == theirs
    assert ours.stop_reason == ("eos" if theirs[-1] == 2 else "length")


@settings(max_examples=10)
@given(prompt=prompts, seed=st.integers(0, 9))
def test_same_seed_same_text(engine, prompt, seed):
    first, again, other = (continued(engine, prompt, do_sample=True, seed=number) for number in (seed, seed, seed + 1))
    assert first == again
    assert first != other


def test_the_stream_is_the_text(engine):
    stream = []
    chosen = GenerationSettings(max_new_tokens=9)
    result = generate(engine, [5], chosen, Stopper(max_new_tokens=9), on_tokens=stream.extend)
    assert stream == list(result.tokens)
    assert len(stream) == 9


def test_generation_stops_at_the_first_eos_and_keeps_it(engine):
    free = list(continued(engine, [5, 6]).tokens)
    eos = free[4]
    stopped = continued(engine, [5, 6], eos_ids=[eos])
    assert list(stopped.tokens) == free[: free.index(eos) + 1]
    assert stopped.stop_reason == "eos"


def test_nothing_is_generated_when_nothing_is_asked_for(engine):
    assert continued(engine, [5], max_new_tokens=0).tokens == ()


def test_a_text_may_fill_the_model_to_the_last_position(engine):
    room = engine.max_positions
    assert len(continued(engine, [5] * (room - 2), max_new_tokens=3).tokens) == 3
    with pytest.raises(ValueError, match="do not fit"):
        continued(engine, [5] * (room - 2), max_new_tokens=4)


def test_an_empty_prompt_is_refused(engine):
    with pytest.raises(ValueError, match="prompt is empty"):
        continued(engine, [])


def test_a_model_of_several_rows_is_refused(new_tiny_model):
    model = new_tiny_model()
    two_rows = LeanLlama(model.config, model.state_dict(), batch_size=2)
    with pytest.raises(ValueError, match="2 rows"):
        generate(two_rows, [1, 2], GenerationSettings(), Stopper(max_new_tokens=2))
    with pytest.raises(ValueError, match="one prompt per row"):
        two_rows.prefill([[1, 2]])
