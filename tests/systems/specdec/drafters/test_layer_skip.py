"""Layers of the target as drafter: shared weights, own cache, lossless; the search and the trimmed head."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import UserError
from tenfold.nn.linear import Int8Linear, NativeLinear, PackedLinear, TrimmedLinear
from tenfold.systems.specdec.drafters.early_exit import (
    EarlyExitConfig,
    LayerSkipConfig,
    argmaxes,
    best_scored,
    early_exit_drafter,
    evenly_spread,
    layer_skip_drafter,
    most_frequent,
    search_layers,
    with_head_rows,
    with_layers,
)
from tiny_llama import GREEDY, VOCAB, loaded, plain, speculated, tiny_llama

TARGET = tiny_llama(0, num_layers=4)
TOKENS = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20)


@settings(deadline=None, max_examples=10)
@given(prompt=TOKENS, num_layers=st.integers(1, 4), head_size=st.sampled_from([0, 7, 40]))
def test_greedy_speculation_with_an_early_exit_is_lossless(prompt, num_layers, head_size):
    config = EarlyExitConfig(num_layers=num_layers, head_size=head_size)
    drafter = early_exit_drafter(loaded(TARGET), GREEDY, config)
    assert list(speculated(TARGET, drafter, prompt, 16).tokens) == plain(TARGET, prompt, 16)


@settings(deadline=None, max_examples=6)
@given(prompt=TOKENS, layers=st.permutations(range(4)).map(lambda order: tuple(sorted(order[:2]))))
def test_greedy_speculation_with_skipped_layers_is_lossless(prompt, layers):
    drafter = layer_skip_drafter(loaded(TARGET), GREEDY, LayerSkipConfig(layers=layers))
    assert list(speculated(TARGET, drafter, prompt, 16).tokens) == plain(TARGET, prompt, 16)


def test_all_layers_are_the_target_itself():
    view = with_layers(TARGET, range(4))
    assert plain(view, [1, 2], 12) == plain(TARGET, [1, 2], 12)


def test_a_view_shares_weights_and_not_its_cache():
    TARGET.reset()
    TARGET.prefill([[1, 2, 3]])
    view = with_layers(TARGET, [0, 2])
    view.prefill([[4, 5]])
    assert (TARGET.lengths, view.lengths) == ([3], [2])
    assert view.weights.layers[1] is TARGET.weights.layers[2]
    assert (view.cache.buffer.shape[0], TARGET.cache.buffer.shape[0]) == (2, 4)


def test_fewer_layers_equal_a_model_that_has_only_those():
    short = tiny_llama(0, num_layers=4)
    short = short.with_weights(with_layers(TARGET, [1, 3]).weights)
    assert torch.equal(short.prefill([[1, 2, 3]]), with_layers(TARGET, [1, 3]).prefill([[1, 2, 3]]))


@pytest.mark.parametrize("layers", [[], [0, 0], [4], [-1]])
def test_layers_that_do_not_exist_are_refused(layers):
    with pytest.raises(UserError, match="from 0 to 3"):
        with_layers(TARGET, layers)


def test_another_engine_is_refused():
    with pytest.raises(UserError, match=r"early_exit.*runs as object"):
        early_exit_drafter(loaded(object()), GREEDY)


def test_a_trimmed_head_guesses_only_its_own_tokens():
    tokens = [3, 8, 50]
    view = with_head_rows(TARGET, tokens)
    full_V, trimmed_V = tiny_llama(0, num_layers=4).prefill([[1, 2]])[0], view.prefill([[1, 2]])[0]
    assert torch.allclose(trimmed_V[tokens], full_V[tokens], atol=1e-5)
    assert trimmed_V.isfinite().sum() == 3


@pytest.mark.parametrize("tokens", [[], [VOCAB], [-1]])
def test_a_head_of_unknown_tokens_is_refused(tokens):
    with pytest.raises(UserError, match="does not fit"):
        with_head_rows(TARGET, tokens)


@pytest.mark.parametrize("kernel", [NativeLinear, lambda w, b: PackedLinear(w, b, 2.0), Int8Linear])
def test_unpacked_weights_are_those_that_are_applied(kernel):
    generator = torch.Generator().manual_seed(0)
    weight_OI, bias_O = torch.randn(6, 8, generator=generator).half().float(), torch.arange(6.0)
    matrix = kernel(weight_OI, bias_O)
    unpacked_OI, unpacked_O = matrix.unpack()
    assert torch.allclose(matrix(torch.eye(8)).T, unpacked_OI + unpacked_O[:, None], atol=0.02)
    assert kernel is Int8Linear or torch.equal(unpacked_OI, weight_OI)


def test_a_trimmed_map_unpacks_to_the_same_map():
    full = NativeLinear(torch.arange(12.0).view(4, 3))
    trimmed = TrimmedLinear(full, torch.tensor([2, 0]), kernel="native")
    again = NativeLinear(*trimmed.unpack())
    assert torch.equal(trimmed(torch.ones(2, 3)), again(torch.ones(2, 3)))


def test_the_search_finds_the_best_pair_of_layers():
    texts = [plain(TARGET, [start], 20) for start in (1, 5)]
    found = search_layers(TARGET, texts, 2)
    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    wanted = [torch.cat([argmaxes(TARGET, text) for text in texts])] * len(pairs)
    shares = {
        pair: float((torch.cat([argmaxes(with_layers(TARGET, pair), text) for text in texts]) == choice).float().mean())
        for pair, choice in zip(pairs, wanted, strict=True)
    }
    assert found.agreement == pytest.approx(shares[tuple(found.layers)])
    swaps = [pair for pair in pairs if len(set(pair) & set(found.layers)) == 1]
    assert all(found.agreement >= shares[pair] - 1e-6 for pair in swaps)


def test_layers_by_a_file_of_scores(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(json.dumps({"layer": i, "score": s}) + "\n" for i, s in enumerate([0.1, 0.9, 0.3, 0.8])))
    assert best_scored(path, 2) == [1, 3]
    drafter = layer_skip_drafter(loaded(TARGET), GREEDY, LayerSkipConfig(scores=path, num_layers=2))
    assert drafter.network.model.weights.shape.num_layers == 2


def test_evenly_spread_layers():
    assert evenly_spread(3, 9) == [0, 4, 8]
    assert evenly_spread(1, 9) == [0]
    with pytest.raises(UserError, match="the model has 4"):
        evenly_spread(5, 4)


def test_the_most_frequent_tokens():
    assert most_frequent([[5, 5, 2], [2, 9, 5]], 2) == [2, 5]
