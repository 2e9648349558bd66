"""The compiled kernels: equal to a slow reference, and to themselves to the last bit however rows are grouped."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.nn import rows_library
from tenfold.nn.compiled import CompiledLayers, CompiledLinear
from tenfold.nn.lean_layers import TorchLayers
from tenfold.nn.lean_llama import LeanLlama

pytestmark = pytest.mark.skipif(rows_library.why_not() is not None, reason=str(rows_library.why_not()))

SHAPES = [(64, 32), (97, 33), (5, 7), (40, 128), (1, 1)]


def engines(model, batch_size=1):
    """The same bf16 weights with compiled layers, and the same products under torch's own layers."""
    state = {name: value.bfloat16() for name, value in model.state_dict().items()}
    fast = LeanLlama(model.config, state, batch_size=batch_size, kernel="compiled")
    slow = LeanLlama(model.config, state, batch_size=batch_size, kernel="compiled")
    slow.layers = TorchLayers(slow.weights)
    assert isinstance(fast.layers, CompiledLayers)
    return fast, slow


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_rows", [1, 12, 13, 40])
def test_the_product_is_that_of_bf16_inputs_summed_precisely(shape, num_rows):
    torch.manual_seed(0)
    weight_OI, bias_O, x_NI = torch.randn(shape).bfloat16(), torch.randn(shape[0]), torch.randn(num_rows, shape[1])
    expected = x_NI.bfloat16().double() @ weight_OI.double().T + bias_O
    torch.testing.assert_close(CompiledLinear(weight_OI, bias_O)(x_NI).double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(CompiledLinear(weight_OI).unpack()[0], weight_OI.float())


@settings(max_examples=30)
@given(shape=st.sampled_from(SHAPES), num_rows=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_row_has_the_same_bits_in_any_company(shape, num_rows, width, seed):
    torch.manual_seed(seed)
    product, x_NI = CompiledLinear(torch.randn(shape).bfloat16()), torch.randn(num_rows, shape[1])
    assert torch.equal(torch.cat([product(piece) for piece in x_NI.split(width)]), product(x_NI))
    order = torch.randperm(num_rows)
    assert torch.equal(product(x_NI[order]), product(x_NI)[order])


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (8, 1)])
@pytest.mark.parametrize("head_width", [8, 16, 64, 80])
def test_layers_equal_those_of_torch(new_tiny_model, heads, head_width):
    fast, slow = engines(new_tiny_model(num_attention_heads=heads[0], num_key_value_heads=heads[1], head_dim=head_width))
    prompt = torch.randint(97, (70,), generator=torch.Generator().manual_seed(1)).tolist()
    torch.testing.assert_close(fast.prefill([prompt]), slow.prefill([prompt]), rtol=2e-2, atol=2e-2)
    for width in (1, 5, 16):
        ids = torch.randint(97, (1, width), generator=torch.Generator().manual_seed(width))
        torch.testing.assert_close(fast.forward(ids), slow.forward(ids), rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(fast.cache.buffer[..., :90, :], slow.cache.buffer[..., :90, :], rtol=2e-2, atol=2e-2)


def test_one_layer_equals_that_of_torch_closely(new_tiny_model):
    """Over one layer, roundings to bf16 have hardly a chance to fall on different sides."""
    fast, slow = engines(new_tiny_model(num_hidden_layers=1))
    prompt = list(range(60))
    difference = (fast.prefill([prompt]) - slow.prefill([prompt])).abs()
    assert difference.median() < 1e-5


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 20), min_size=1, max_size=6), prefix=st.integers(1, 40), seed=st.integers(0, 99))
def test_logits_do_not_depend_on_how_a_text_is_cut_into_passes(pair, cuts, prefix, seed):
    engine, _ = pair
    ids = torch.randint(97, (1, prefix + sum(cuts)), generator=torch.Generator().manual_seed(seed))
    engine.reset()
    first = engine.prefill([ids[0, :prefix].tolist()])
    singly = torch.cat([engine.forward(ids[:, place : place + 1]) for place in range(prefix, ids.shape[1])], dim=1)
    engine.reset()
    assert torch.equal(engine.prefill([ids[0, :prefix].tolist()]), first)
    pieces = [engine.forward(piece) for piece in ids[:, prefix:].split(cuts, dim=1)]
    assert torch.equal(torch.cat(pieces, dim=1), singly)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), prefix=st.integers(1, 300), seed=st.integers(0, 99))
def test_a_node_of_a_tree_has_the_bits_of_its_path_as_a_chain(pair, data, prefix, seed):
    engine, _ = pair
    num_nodes = data.draw(st.integers(2, 12))
    parents = [-1, *(data.draw(st.integers(0, node - 1)) for node in range(1, num_nodes))]
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randint(97, (prefix,), generator=generator).tolist()
    tokens = torch.randint(97, (num_nodes,), generator=generator)
    paths = []
    for node, parent in enumerate(parents):
        paths.append([*(paths[parent] if parent >= 0 else []), node])
    ancestors = torch.zeros(num_nodes, num_nodes, dtype=torch.bool)
    for node, path in enumerate(paths):
        ancestors[node, path] = True
    engine.reset()
    engine.prefill([prompt])
    depths = torch.tensor([len(path) - 1 for path in paths])
    logits = engine.forward(tokens[None], depths_K=depths, ancestors_KK=ancestors)[0]
    engine.rollback([num_nodes])
    for node, path in enumerate(paths):
        chain = engine.forward(tokens[path][None])[0]
        engine.rollback([len(path)])
        assert torch.equal(chain[-1], logits[node])


@settings(max_examples=20, deadline=None)
@given(
    tokens=st.dictionaries(st.integers(0, 4), st.lists(st.integers(0, 96), min_size=1, max_size=20), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_rows_that_take_part_have_the_bits_of_each_alone(five_rows, pair, tokens, seed):
    """Whichever rows take part and however many tokens each has, also more together than any pass may have."""
    alone, _ = pair
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 300, (5,), generator=generator).tolist()
    prompts = [torch.randint(97, (length,), generator=generator).tolist() for length in lengths]
    five_rows.reset()
    five_rows.prefill(prompts)
    found = five_rows.forward_ragged(tokens)
    assert list(five_rows.lengths) == [length + len(tokens.get(row, [])) for row, length in enumerate(lengths)]
    assert found.keys() == tokens.keys()
    for row, ids in tokens.items():
        alone.reset()
        alone.prefill([prompts[row]])
        assert torch.equal(alone.forward(torch.tensor([ids]))[0], found[row])
        assert torch.equal(alone.hidden_rows[0], five_rows.hidden_rows[row])


@pytest.fixture(scope="module")
def five_rows(new_tiny_model):
    return engines(new_tiny_model(), batch_size=5)[0]


@pytest.fixture(scope="module")
def pair(new_tiny_model):
    return engines(new_tiny_model())


def test_the_promise_is_tried_and_reaches_to_trees(pair):
    fast, _ = pair
    assert fast.exactness == "bit"
    assert fast.exact_trees
    assert {1, 2, 8, 60} <= fast.exact_widths


def test_weights_that_are_not_bf16_are_never_rounded(new_tiny_model):
    model = new_tiny_model()
    engine = LeanLlama(model.config, model.state_dict(), kernel="compiled")
    assert isinstance(engine.layers, TorchLayers)
    assert not engine.exact_trees


def test_a_failing_compiler_is_told_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(rows_library, "_compiler", lambda: "/bin/false")
    monkeypatch.setattr(rows_library, "cache_folder", lambda: tmp_path)
    rows_library.load.cache_clear()
    rows_library.why_not.cache_clear()
    try:
        assert "could not be compiled" in str(rows_library.why_not())
        assert not list(tmp_path.rglob("*.so"))
    finally:
        monkeypatch.undo()
        rows_library.load.cache_clear()
        rows_library.why_not.cache_clear()
