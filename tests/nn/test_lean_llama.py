"""The lean engine against Transformers in fp32, and its cache operations against one straight pass."""

# B rows, K tokens of a pass, T tokens, V vocabulary
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from tenfold.nn import linear
from tenfold.nn.drafting import Draft
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.lean_weights import supports

ROPE = {"rope_theta": 10000.0}
LONGER = {"factor": 4.0, "original_max_position_embeddings": 128, **ROPE}
ARCHITECTURES = {
    "llama": (LlamaConfig, {}),
    "llama tied": (LlamaConfig, {"tie_word_embeddings": True}),
    "llama biased": (LlamaConfig, {"attention_bias": True, "mlp_bias": True}),
    "llama one head a group": (LlamaConfig, {"num_key_value_heads": 4}),
    "llama one group": (LlamaConfig, {"num_key_value_heads": 1}),
    "llama wide heads": (LlamaConfig, {"head_dim": 20}),
    "llama linear": (LlamaConfig, {"rope_parameters": {"rope_type": "linear", **ROPE, "factor": 2.0}}),
    "llama llama3": (
        LlamaConfig,
        {"rope_parameters": {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **LONGER}},
    ),
    "llama yarn": (LlamaConfig, {"rope_parameters": {"rope_type": "yarn", **LONGER}}),
    "mistral": (MistralConfig, {"sliding_window": None}),
    "qwen2": (Qwen2Config, {}),
    "qwen2 tied": (Qwen2Config, {"tie_word_embeddings": True}),
}
KERNELS = ["native", *(["packed"] if linear.packing_available() else [])]

token_lists = st.lists(st.integers(0, 96), min_size=1, max_size=40)


def engine_of(model, **kwargs) -> LeanLlama:
    return LeanLlama(model.config, model.state_dict(), **kwargs)


@torch.inference_mode()
def reference(model, tokens):
    return model(torch.tensor([list(tokens)])).logits[0].float()


def relative_error(got, expected):
    return ((got - expected).abs().max() / expected.abs().max()).item()


def random_tokens(count, seed=0):
    return torch.randint(0, 97, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.fixture(scope="module")
def engine(tiny_llama):
    return engine_of(tiny_llama)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_are_those_of_transformers(new_tiny_model, name, kernel):
    config_type, changes = ARCHITECTURES[name]
    model = new_tiny_model(config_type, **changes)
    for weight in model.parameters():  # biases start at zero, where nothing could be seen of them
        if weight.dim() == 1:
            weight.data += torch.linspace(-0.5, 0.5, len(weight)).bfloat16().float()
    engine, tokens = engine_of(model, kernel=kernel), random_tokens(300)
    expected_TV = reference(model, tokens)
    assert relative_error(engine.prefill([tokens[:290]])[0], expected_TV[289]) <= 1e-4
    assert relative_error(engine.forward(torch.tensor([tokens[290:]]))[0], expected_TV[290:]) <= 1e-4


@pytest.mark.skipif(not linear.packing_available(), reason="this torch has no FBGEMM kernels")
def test_bf16_weights_give_fp32_logits_when_packed_and_nearly_so_natively(tiny_llama):
    tokens, state = random_tokens(50), {name: weight.bfloat16() for name, weight in tiny_llama.state_dict().items()}
    expected_TV = reference(tiny_llama, tokens)
    packed, native = (LeanLlama(tiny_llama.config, state, kernel=kernel) for kernel in ("packed", "native"))
    assert relative_error(packed.forward(torch.tensor([tokens]))[0], expected_TV) <= 1e-4
    assert relative_error(native.forward(torch.tensor([tokens]))[0], expected_TV) <= 5e-2


@settings(max_examples=15)
@given(prompts=st.lists(token_lists, min_size=3, max_size=3), more=st.lists(st.integers(0, 96), min_size=3, max_size=3))
def test_ragged_rows_are_each_row_alone(tiny_llama, engine, ragged, prompts, more):
    ragged.reset()
    last_BV = ragged.prefill(prompts)
    next_BV = ragged.forward(torch.tensor(more)[:, None])[:, 0]
    for row, prompt in enumerate(prompts):
        engine.reset()
        assert relative_error(last_BV[row], engine.prefill([prompt])[0]) <= 1e-5
        assert relative_error(next_BV[row], reference(tiny_llama, [*prompt, more[row]])[-1]) <= 1e-4


@pytest.fixture(scope="module")
def ragged(tiny_llama):
    return engine_of(tiny_llama, batch_size=3)


@settings(max_examples=20)
@given(tokens=token_lists.filter(lambda tokens: len(tokens) > 1), data=st.data())
def test_prefill_may_be_split_anywhere(engine, tokens, data):
    split = data.draw(st.integers(1, len(tokens) - 1))
    engine.reset()
    whole = engine.prefill([tokens])
    engine.reset()
    engine.prefill([tokens[:split]])
    assert torch.allclose(engine.prefill([tokens[split:]]), whole, atol=1e-5)
    assert list(engine.lengths) == [len(tokens)]


@settings(max_examples=20)
@given(tokens=token_lists, wrong=token_lists, data=st.data())
def test_rolled_back_and_fed_again_is_straight(engine, tokens, wrong, data):
    back = data.draw(st.integers(0, len(tokens)))
    engine.reset()
    engine.prefill([tokens])
    engine.forward(torch.tensor([wrong]))
    engine.rollback([len(wrong) + back])
    assert list(engine.lengths) == [len(tokens) - back]
    after = engine.prefill([[*tokens[len(tokens) - back :], 5]])
    engine.reset()
    assert torch.allclose(engine.prefill([[*tokens, 5]]), after, atol=1e-5)


@st.composite
def drafts(draw):
    size = draw(st.integers(1, 10))
    return Draft(
        draw(st.lists(st.integers(0, 96), min_size=size, max_size=size)),
        [draw(st.integers(-1, node - 1)) for node in range(size)],
        "test",
    )


@settings(max_examples=20)
@given(prompt=token_lists, draft=drafts(), data=st.data())
def test_tree_pass_is_each_path_run_as_a_chain(engine, prompt, draft, data):
    engine.reset()
    engine.prefill([prompt])
    ids_1K, depths_K = torch.tensor([[7, *draft.tokens]]), torch.tensor([0, *draft.depths])
    logits_KV = engine.forward(ids_1K, depths_K=depths_K, ancestors_KK=draft.ancestry())[0]

    node = data.draw(st.integers(0, len(draft.tokens) - 1))
    path = [7, *(draft.tokens[step] for step in draft.path(node))]
    start = len(prompt)
    engine.keep(0, start, [start, *(start + 1 + step for step in draft.path(node))])
    assert list(engine.lengths) == [start + len(path)]
    after_kept = engine.forward(torch.tensor([[3]]))[0, 0]

    engine.reset()
    engine.prefill([prompt])
    chain_KV = engine.forward(torch.tensor([path]))[0]
    for place, step in enumerate([-1, *draft.path(node)]):
        assert torch.allclose(logits_KV[step + 1], chain_KV[place], atol=1e-5)
    assert torch.allclose(after_kept, engine.forward(torch.tensor([[3]]))[0, 0], atol=1e-5)


def test_keep_touches_its_own_row_only(ragged):
    prompts = [random_tokens(size, seed=size) for size in (3, 6, 9)]
    ragged.reset()
    ragged.prefill(prompts)
    ragged.keep(1, 2, [3, 5])
    assert list(ragged.lengths) == [3, 4, 9]
    kept = ragged.forward(torch.tensor([[8]] * 3))
    ragged.reset()
    ragged.prefill(prompts)
    straight = ragged.forward(torch.tensor([[8]] * 3))
    assert torch.equal(kept[[0, 2]], straight[[0, 2]])
    assert not torch.allclose(kept[1], straight[1])


@pytest.mark.parametrize(
    ("config_type", "changes"),
    [
        (MistralConfig, {"sliding_window": 16}),
        (Qwen2Config, {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0}),
        (LlamaConfig, {"hidden_act": "gelu"}),
        (LlamaConfig, {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, **ROPE}}),
    ],
)
def test_what_the_engine_does_not_compute_is_refused(new_tiny_model, config_type, changes):
    model = new_tiny_model(config_type, **changes)
    assert not supports(model.config)
    with pytest.raises(ValueError, match="llama, mistral, qwen2 are accepted"):
        engine_of(model)


def test_other_architectures_are_refused():
    assert not supports(GPT2Config(bos_token_id=None, eos_token_id=None))


@pytest.mark.parametrize("prompts", [[[]], [[1], [], [2]]])
def test_an_empty_prompt_is_refused(engine, ragged, prompts):
    model = engine if len(prompts) == 1 else ragged
    model.reset()
    with pytest.raises(ValueError, match="prompt is empty"):
        model.prefill(prompts)


def test_no_room_is_refused_before_anything_is_written(engine):
    engine.reset()
    engine.prefill([random_tokens(511)])
    with pytest.raises(ValueError, match="511 \\+ 2 tokens do not fit into the model's 512 positions"):
        engine.forward(torch.tensor([[1, 2]]))
    with pytest.raises(ValueError, match="do not fit"):
        engine.prefill([[1, 2]])
    assert list(engine.lengths) == [511]


def test_the_last_position_can_be_used(engine, tiny_llama):
    tokens = random_tokens(512)
    engine.reset()
    engine.prefill([tokens[:511]])
    assert relative_error(engine.forward(torch.tensor([tokens[511:]]))[0], reference(tiny_llama, tokens)[511:]) <= 1e-4


def test_rolling_back_too_far_is_refused(engine):
    engine.reset()
    engine.prefill([[1, 2, 3]])
    with pytest.raises(ValueError, match="cannot roll back 4 tokens of 3"):
        engine.rollback([4])
