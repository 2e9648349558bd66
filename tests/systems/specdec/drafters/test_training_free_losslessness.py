"""Whatever a drafter says, the text is the target's own; on a tiny random Llama, token for token."""

from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from tenfold.nn.drafting import NOTHING
from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.drafters import DRAFTERS
from tenfold.systems.specdec.drafters.hybrid import HybridDrafter
from tenfold.systems.specdec.drafters.lookahead import LookaheadDrafter, jacobi
from tenfold.systems.specdec.drafters.ngram import NgramDrafter
from tenfold.systems.specdec.drafters.oracle import OracleDrafter
from tenfold.systems.specdec.drafters.recycle import RecycleDrafter
from tenfold.systems.specdec.drafters.suffix import SuffixDrafter
from tenfold.systems.specdec.speculate import speculate

VOCAB, MAX_NEW = 8, 16


@cache
def tiny_target():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        initializer_range=0.5,
        tie_word_embeddings=False,
    )
    return LeanLlama(config, dict(LlamaForCausalLM(config).state_dict()))


def plain(prompt):
    return list(generate(tiny_target(), prompt, GenerationSettings(), Stopper(max_new_tokens=MAX_NEW)).tokens)


def speculated(prompt, drafter, num_draft):
    stopper = Stopper(max_new_tokens=MAX_NEW)
    return speculate(tiny_target(), prompt, GenerationSettings(), stopper, drafter=drafter, num_draft=num_draft)


CHAINS = {
    "ngram": NgramDrafter,
    "suffix": lambda: SuffixDrafter(factor=4, min_path_confidence=0.0),
    "suffix with memory": lambda: SuffixDrafter(remembered_tokens=200),
    "recycle": RecycleDrafter,
    "jacobi": jacobi,
    "hybrid": HybridDrafter,
}
TREES = {
    "suffix": lambda: SuffixDrafter(shape="tree", factor=4),
    "recycle": lambda: RecycleDrafter(shape="tree"),
    "lookahead": LookaheadDrafter,
    "hybrid": lambda: HybridDrafter(shape="tree"),
}
CASES = [*(("chain", name, make) for name, make in CHAINS.items()), *(("tree", name, make) for name, make in TREES.items())]
prompts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("shape", "make"), [(shape, make) for shape, _, make in CASES], ids=[f"{s}-{n}" for s, n, _ in CASES]
)
@given(prompt_pair=st.tuples(prompts, prompts), num_draft=st.integers(1, 9))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_greedy_speculation_is_lossless(shape, make, prompt_pair, num_draft):
    drafter = make()
    for prompt in prompt_pair:
        result = speculated(prompt, drafter, num_draft)
        assert list(result.tokens) == plain(prompt)


@given(prompt=prompts, alpha=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=8, deadline=None)
def test_the_oracle_is_lossless_and_a_perfect_one_needs_few_passes(prompt, alpha):
    text = plain(prompt)
    result = speculated(prompt, OracleDrafter([*prompt, *text], alpha=alpha, vocab_size=VOCAB), 4)
    assert list(result.tokens) == text
    if alpha == 1:
        assert len(result.rounds) == -(-(MAX_NEW - 1) // 5)


@pytest.mark.parametrize("name", ["ngram", "suffix", "recycle", "lookahead", "jacobi", "hybrid"])
def test_registered_drafters_start_without_arguments_and_never_fail_on_short_contexts(name):
    drafter = DRAFTERS.load(name)()
    drafter.reset()
    for context in ([3], [3, 3], [3, 3, 1]):
        for num_tokens in (1, 3):
            assert len(drafter.propose(context, num_tokens).tokens) <= num_tokens
    drafter.reset()
    assert name in ("lookahead", "jacobi") or drafter.propose([3], 4) is NOTHING
