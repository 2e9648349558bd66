"""`generate` in the place of Transformers' own: the same texts, settings, inputs and outputs; nothing dropped in silence."""

import warnings

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from transformers import (
    Gemma2Config,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    LogitsProcessorList,
    Mamba2Config,
    MistralConfig,
    Qwen2Config,
    StoppingCriteriaList,
)
from transformers.generation.logits_process import SuppressTokensLogitsProcessor
from transformers.generation.stopping_criteria import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from guessing import Guesser
from tenfold.core.errors import UserError
from tenfold.nn import models
from tenfold.nn.lean_llama import LeanLlama
from tenfold.systems.specdec import generate
from tenfold.systems.specdec.drafters.ngram import NgramDrafter

MODELS = {
    "llama": (LlamaConfig, {}),
    "gpt2": (GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "resid_pdrop": 0.0}),
    "qwen2": (Qwen2Config, {}),
    "mistral": (MistralConfig, {"sliding_window": 8}),
    "gemma2": (Gemma2Config, {"sliding_window": 8, "head_dim": 8}),
    "mamba2": (
        Mamba2Config,
        {"state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 4, "num_key_value_heads": None},
    ),
}


@pytest.fixture(scope="module", params=list(MODELS))
def model(request, new_tiny_model):
    config_type, changes = MODELS[request.param]
    model = new_tiny_model(config_type, seed=1, **changes)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=[2, 50], pad_token_id=0)
    return model


@pytest.fixture(scope="module")
def llama(new_tiny_model):
    model = new_tiny_model(seed=1)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=[2, 50], pad_token_id=0)
    return model


@pytest.fixture(scope="module")
def lean(llama):
    return LeanLlama(llama.config, llama.state_dict())


def theirs(model, *inputs, **keywords):
    """Transformers' own answer; its advice about settings is not for us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.generate(*inputs, **keywords)


tokens = st.integers(3, 96)
prompts = st.lists(tokens, min_size=1, max_size=12)
rules = st.fixed_dictionaries(
    {},
    optional={
        "max_new_tokens": st.integers(1, 14),
        "max_length": st.integers(14, 24),
        "min_new_tokens": st.integers(0, 9),
        "min_length": st.integers(0, 16),
        "repetition_penalty": st.sampled_from([0.8, 1.3]),
        "no_repeat_ngram_size": st.sampled_from([1, 2, 3]),
        "encoder_no_repeat_ngram_size": st.sampled_from([1, 2]),
        "encoder_repetition_penalty": st.sampled_from([0.7, 1.5]),
        "bad_words_ids": st.lists(st.lists(tokens, min_size=1, max_size=2), min_size=1, max_size=9, unique_by=tuple),
        "suppress_tokens": st.lists(tokens, min_size=1, max_size=40),
        "begin_suppress_tokens": st.lists(tokens, min_size=1, max_size=40),
        "forced_eos_token_id": st.sampled_from([2, 50]),
        "exponential_decay_length_penalty": st.sampled_from([(3, 1.2), (1, 1.05)]),
        "sequence_bias": st.sampled_from([[[[7], 2.0], [[8, 9], -3.0]], [[[5, 6], 10.0]]]),
        "renormalize_logits": st.booleans(),
        "eos_token_id": st.sampled_from([60, [2, 61, 62]]),
    },
)


@settings(max_examples=6, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=prompts, keywords=rules, seed=st.none() | st.integers(0, 99))
def test_greedy_texts_are_transformers_own(model, prompt, keywords, seed):
    ids_1T = torch.tensor([prompt])
    expected = theirs(model, ids_1T, attention_mask=torch.ones_like(ids_1T), do_sample=False, **keywords)
    drafter = "ngram" if seed is None else Guesser([expected[0].tolist()], seed=seed)
    assert torch.equal(generate(model, None, ids_1T, drafter=drafter, **keywords), expected)


@settings(max_examples=4, phases=[Phase.generate])
@given(rows=st.lists(prompts, min_size=1, max_size=4), keywords=st.sampled_from([{}, {"max_length": 25}]))
def test_left_padded_batches_are_transformers_own(llama, rows, keywords):
    width = max(map(len, rows))
    ids_NT = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask_NT = (ids_NT != 0).long()
    expected = theirs(llama, ids_NT, attention_mask=mask_NT, **keywords)
    assert torch.equal(generate(llama, None, ids_NT, attention_mask=mask_NT, **keywords), expected)
    assert torch.equal(generate(llama, None, {"input_ids": ids_NT, "attention_mask": mask_NT}, **keywords), expected)
    assert torch.equal(generate(llama, None, ids_NT, **keywords), expected), "padding is known by its token"
    assert torch.equal(generate(llama, None, rows, **keywords), expected)


def test_rows_of_an_engine_decode_together(llama, lean):
    engine = LeanLlama(llama.config, llama.state_dict(), batch_size=3)
    engine.exact_widths = lean.exact_widths
    rows = [[5, 6], [7], [8, 9, 10], [11] * 5]
    together = generate(engine, None, rows, max_new_tokens=12, eos_token_id=[2, 50], pad_token_id=0)
    assert torch.equal(together, generate(llama, None, rows, max_new_tokens=12))


@pytest.mark.parametrize(
    "keywords",
    [{}, {"temperature": 0.7, "top_k": 10}, {"top_p": 0.8, "min_p": 0.05}, {"typical_p": 0.7, "repetition_penalty": 1.2}],
)
def test_sampled_texts_depend_on_the_seed_alone(llama, lean, keywords):
    keywords = {"do_sample": True, "max_new_tokens": 10, "eos_token_id": [2], **keywords}
    alone = generate(lean, None, [5, 6], drafter=None, seed=7, **keywords)
    for drafter in ("ngram", "hybrid", Guesser([alone[0].tolist()], seed=1), llama):
        assert torch.equal(generate(lean, None, [5, 6], drafter=drafter, seed=7, **keywords), alone)
    engine = LeanLlama(llama.config, llama.state_dict(), batch_size=2)
    engine.exact_widths = lean.exact_widths
    together = generate(engine, None, [[9], [5, 6]], seed=[3, 7], **keywords)[1]
    assert together[: alone.shape[1]].tolist() == alone[0].tolist()
    assert not torch.equal(generate(lean, None, [5, 6], seed=8, **keywords), alone)


def test_a_draft_of_the_target_itself_is_accepted_when_sampling(llama, lean):
    output = generate(
        lean,
        None,
        [5, 6],
        drafter=llama,
        do_sample=True,
        temperature=0.9,
        max_new_tokens=20,
        seed=5,
        return_dict_in_generate=True,
    )
    assert len(output.speculations[0].rounds) <= 5


def test_several_sequences_differ_and_the_first_has_the_seed(lean):
    keywords = {"do_sample": True, "max_new_tokens": 8, "seed": 3}
    three = generate(lean, None, [5, 6], num_return_sequences=3, **keywords)
    assert three.shape == (3, 10)
    assert torch.equal(three[:1], generate(lean, None, [5, 6], **keywords))
    assert len({tuple(row) for row in three.tolist()}) == 3


def test_scores_and_logits_are_transformers_own(llama):
    ids_1T = torch.tensor([[5, 6, 7]])
    keywords = {
        "max_new_tokens": 9,
        "repetition_penalty": 1.3,
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
    }
    expected = theirs(llama, ids_1T, attention_mask=torch.ones_like(ids_1T), **keywords)
    found = generate(llama, None, ids_1T, **keywords)
    assert torch.equal(found.sequences, expected.sequences)
    for name in ("scores", "logits"):
        assert len(found[name]) == len(expected[name])
        for ours, their in zip(found[name], expected[name], strict=True):
            assert torch.allclose(ours, their, atol=2e-4)


class Recorder(BaseStreamer):
    def __init__(self):
        self.values, self.ended = [], False

    def put(self, value):
        self.values += value.flatten().tolist()

    def end(self):
        self.ended = True


def test_a_streamer_gets_the_prompt_and_then_the_tokens(llama):
    streamer = Recorder()
    assert generate(llama, None, [5, 6, 5], max_new_tokens=9, streamer=streamer)[0].tolist() == streamer.values
    assert streamer.ended
    with pytest.raises(UserError, match="streamer takes one text"):
        generate(llama, None, [[5], [6]], streamer=streamer)


class StopsAt(StoppingCriteria):
    def __init__(self, length):
        self.length = length

    def __call__(self, input_ids, scores, **kwargs):
        return torch.tensor([input_ids.shape[1] >= self.length])


def test_the_callers_processors_criteria_and_constraints(llama):
    ids_1T = torch.tensor([[5, 6, 7]])
    keywords = {
        "max_new_tokens": 12,
        "logits_processor": LogitsProcessorList([SuppressTokensLogitsProcessor(list(range(3, 60)))]),
        "stopping_criteria": StoppingCriteriaList([StopsAt(9)]),
        "prefix_allowed_tokens_fn": lambda row, ids: list(range(40 + len(ids), 97)),
    }
    expected = theirs(llama, ids_1T, attention_mask=torch.ones_like(ids_1T), **keywords)
    assert torch.equal(generate(llama, None, ids_1T, **keywords), expected)


@pytest.fixture
def loaded(tiny_folder):
    loaded = models.load(str(tiny_folder))
    loaded.engine.seeks_exactness = False  # trying widths takes longer than the tests
    return loaded


def test_texts_and_chats(loaded):
    tokenizer, few = loaded.tokenizer, {"max_new_tokens": 4, "num_draft": 3}
    text = generate(loaded, None, "ab ab", **few)
    assert text[0, :5].tolist() == tokenizer("ab ab")["input_ids"]
    assert torch.equal(generate(loaded, tokenizer, ["ab ab"], **few), text)
    chat = [{"role": "user", "content": "ab"}]
    asked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    one = generate(loaded, None, chat, **few)
    assert one[0, : len(asked)].tolist() == asked
    assert torch.equal(generate(loaded, None, [chat, chat], **few), one.repeat(2, 1))
    first = tokenizer.decode([text[0, 6]])
    assert generate(loaded, None, "ab ab", stop_strings=[first], **few).shape[1] <= 7


def test_a_model_by_name(loaded, monkeypatch):
    asked = []
    monkeypatch.setattr(models, "load", lambda name, *, batch_size: asked.append((name, batch_size)) or loaded)
    assert generate("some-model", None, "ab", max_new_tokens=2, num_draft=2).shape == (1, 4)
    assert asked == [("some-model", 1)]
    with pytest.raises(UserError, match="batch_size is for models given by name"):
        generate(loaded, None, "ab", batch_size=2)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"num_beams": 4}, "num_beams=4 cannot be honoured: only texts that grow one token"),
        ({"penalty_alpha": 0.6}, "penalty_alpha"),
        ({"guidance_scale": 1.5}, "guidance_scale"),
        ({"assistant_model": object()}, "take drafter="),
        ({"prompt_lookup_num_tokens": 5}, "take drafter="),
        ({"cache_implementation": "static"}, "own cache"),
        ({"output_attentions": True}, "output_attentions"),
        ({"max_new_token": 4}, "did you mean 'max_new_tokens'"),
        ({"temprature": 0.5}, "did you mean 'temperature'"),
        ({"num_return_sequences": 2}, "cannot be used: Greedy methods"),
        ({"max_length": 2}, "max_length is 2"),
        ({"seed": [1, 2]}, "got 2 seeds for 1 texts"),
        ({"stop_strings": "x"}, "stop_strings need a tokenizer"),
        ({"drafter": "ngarm"}, "did you mean 'ngram'"),
        ({"verifier": "lenient", "do_sample": True}, "allow_lossy"),
        ({"generation_config": GenerationConfig(num_beams=2)}, "num_beams=2"),
        ({"temperature": -1.0, "do_sample": True}, "temperature"),
    ],
)
def test_what_cannot_be_honoured_is_said_in_one_line(llama, keywords, said):
    with pytest.raises(ValueError, match=said) as caught:
        generate(llama, None, [5, 6, 7], **keywords)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [("text", "without a tokenizer"), ([], "accepted are"), (7, "accepted are"), ([[]], "empty"), ([[5], "a"], "tokenizer")],
)
def test_unusable_inputs(llama, inputs, said):
    with pytest.raises(UserError, match=said):
        generate(llama, None, inputs)


def test_settings_that_ask_for_nothing_are_taken(llama):
    plain = generate(llama, None, [5, 6, 7])
    keywords = {"num_beams": 1, "use_cache": True, "guidance_scale": None, "early_stopping": False}
    assert torch.equal(generate(llama, None, [5, 6, 7], **keywords), plain)
    config = GenerationConfig(max_new_tokens=20)
    assert torch.equal(generate(llama, None, [5, 6, 7], generation_config=config), plain)


def test_one_drafter_serves_one_row(llama, lean):
    engine = LeanLlama(llama.config, llama.state_dict(), batch_size=2)
    engine.exact_widths = lean.exact_widths
    with pytest.raises(UserError, match="one drafter for 2 rows"):
        generate(engine, None, [[5], [6]], drafter=NgramDrafter())
    rows = []
    generate(engine, None, [[5], [6]], drafter=lambda row: rows.append(row) or NgramDrafter(), max_new_tokens=3)
    assert rows == [0, 1]
