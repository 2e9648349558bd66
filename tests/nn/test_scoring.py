"""One-prefill scores against one full pass per candidate."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.scoring import inner_nodes, prefix_tree, score_candidates
from tenfold.nn.transformers_lm import TransformersLM

few_tokens = st.integers(0, 3)  # so that candidates share beginnings
candidates_strategy = st.lists(st.lists(few_tokens, min_size=1, max_size=5), min_size=1, max_size=6)


@pytest.fixture(scope="module", params=["lean", "transformers"])
def engine(request, tiny_llama):
    return LeanLlama(tiny_llama.config, tiny_llama.state_dict()) if request.param == "lean" else TransformersLM(tiny_llama)


@torch.inference_mode()
def slow_score(model, prompt, candidate):
    law = model(torch.tensor([[*prompt, *candidate]])).logits[0].double().log_softmax(-1)
    return sum(law[len(prompt) - 1 + place, token] for place, token in enumerate(candidate))


@settings(max_examples=20)
@given(prompt=st.lists(st.integers(0, 96), min_size=1, max_size=20), candidates=candidates_strategy)
def test_scores_are_the_sums_of_log_probabilities(engine, tiny_llama, prompt, candidates):
    scores = score_candidates(engine, prompt, candidates)
    assert scores.shape == (len(candidates),)
    for score, candidate in zip(scores, candidates, strict=True):
        assert score.item() == pytest.approx(slow_score(tiny_llama, prompt, candidate).item(), abs=1e-4)
    assert list(engine.lengths) == [len(prompt)]


@given(candidates=candidates_strategy)
def test_prefix_tree_holds_each_candidate_and_each_beginning_once(candidates):
    tree, leaves = prefix_tree(candidates)
    assert [[tree.tokens[node] for node in tree.path(leaf)] for leaf in leaves] == candidates
    beginnings = {tuple(candidate[:end]) for candidate in candidates for end in range(1, len(candidate) + 1)}
    assert len(tree.tokens) == len(beginnings)


@pytest.mark.parametrize("candidates", [[], [[]], [[1], []]])
def test_a_missing_candidate_is_refused(engine, candidates):
    with pytest.raises(ValueError, match="candidate"):
        score_candidates(engine, [1], candidates)


def test_scores_of_all_one_token_candidates_sum_to_one(engine):
    assert score_candidates(engine, [3, 4], [[token] for token in range(97)]).exp().sum().item() == pytest.approx(
        1, abs=1e-4
    )


def test_only_nodes_that_something_follows_are_computed():
    assert inner_nodes(prefix_tree([[1], [2], [3]])[0]) == []
    tree, leaves = prefix_tree([[1, 2], [1, 3, 4], [5]])
    assert [tree.tokens[node] for node in inner_nodes(tree)] == [1, 3]
    assert not set(leaves) & set(inner_nodes(tree))
