"""Processors against Transformers' own, row by row; the law a token is drawn from."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig

from tenfold.core.errors import NumericalError
from tenfold.nn.sampling import GenerationSettings, Processors, choose, draw

VOCAB = 97

settings_strategy = st.builds(
    GenerationSettings,
    do_sample=st.booleans(),
    temperature=st.sampled_from([1.0, 0.3, 2.5]),
    top_k=st.sampled_from([0, 1, 5, 500]),
    top_p=st.sampled_from([1.0, 0.9, 0.2]),
    min_p=st.sampled_from([0.0, 0.05, 0.5]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
)
prefixes_strategy = st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12), min_size=1, max_size=4)


def random_logits(count, seed=0):
    return 3 * torch.randn(count, VOCAB, generator=torch.Generator().manual_seed(seed))


def transformers_processors(model, settings):
    config = GenerationConfig(
        do_sample=settings.do_sample,
        repetition_penalty=settings.repetition_penalty,
        **(
            {
                "temperature": settings.temperature,
                "top_k": settings.top_k,
                "top_p": settings.top_p,
                "min_p": settings.min_p or None,
            }
            if settings.do_sample
            else {}
        ),
    )
    return model._get_logits_processor(generation_config=config, input_ids_seq_length=1)


@given(settings=settings_strategy, prefixes=prefixes_strategy, seed=st.integers(0, 99))
def test_processors_are_those_of_generate_row_by_row(tiny_llama, settings, prefixes, seed):
    logits_NV = random_logits(len(prefixes), seed)
    theirs = transformers_processors(tiny_llama, settings)
    before = logits_NV.clone()
    ours_NV = Processors(settings)(logits_NV, prefixes)
    for row, prefix in enumerate(prefixes):
        assert torch.equal(ours_NV[row], theirs(torch.tensor([prefix]), logits_NV[row : row + 1].clone())[0])
    assert torch.equal(logits_NV, before)


@given(settings=settings_strategy, prefixes=prefixes_strategy, seed=st.integers(0, 99))
def test_law_is_a_law(settings, prefixes, seed):
    processors, logits_NV = Processors(settings), random_logits(len(prefixes), seed)
    law_NV = processors.law(logits_NV, prefixes)
    assert (law_NV >= 0).all()
    assert torch.allclose(law_NV.sum(-1), torch.ones(len(prefixes)), atol=1e-5)
    best_N = processors(logits_NV, prefixes).argmax(-1)
    assert torch.equal(law_NV.argmax(-1), best_N)
    if not settings.do_sample:
        assert torch.equal(law_NV, torch.nn.functional.one_hot(best_N, VOCAB).float())


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_unusable_logits_are_an_error_not_a_token(do_sample, bad):
    processors = Processors(GenerationSettings(do_sample=do_sample, top_p=0.9))
    logits_NV = random_logits(2)
    if bad == float("-inf"):
        logits_NV[1] = bad
    else:
        logits_NV[1, 3] = bad
    with pytest.raises(NumericalError):
        processors(logits_NV, [[1], [2]])
    with pytest.raises(NumericalError):
        choose(processors, logits_NV[1], [1], torch.Generator())


def test_draws_follow_the_law_and_the_seed():
    law_V = torch.tensor([0.5, 0.0, 0.3, 0.2])
    draws = [draw(law_V, generator) for generator in [torch.Generator().manual_seed(0)] for _ in range(4000)]
    again = [draw(law_V, generator) for generator in [torch.Generator().manual_seed(0)] for _ in range(4000)]
    assert draws == again
    shares = torch.bincount(torch.tensor(draws), minlength=4) / 4000
    assert shares[1] == 0
    assert torch.allclose(shares, law_V, atol=0.03)


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}, {"min_p": 2}, {"max_new_tokens": -1}, {"topk": 3}],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        GenerationSettings(**change)
