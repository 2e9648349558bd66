"""Several prompts at once: each text is the one its prompt gets alone, however the rows advance."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guessing import Guesser
from tenfold.core.errors import UserError
from tenfold.nn.drafting import Draft
from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.draft_length import FixedLength
from tenfold.systems.specdec.drafters.ngram import NgramDrafter
from tenfold.systems.specdec.requests import Request
from tenfold.systems.specdec.speculate import Silent, speculate, speculate_many
from tenfold.systems.specdec.verifiers import VERIFIERS

EOS = [3, 50]
NUM_DRAFT = 4

requests = st.lists(
    st.tuples(st.lists(st.integers(0, 96), min_size=1, max_size=30), st.integers(0, 24)), min_size=1, max_size=7
)


@pytest.fixture(scope="module")
def alone(tiny_llama):
    return LeanLlama(tiny_llama.config, tiny_llama.state_dict())


@pytest.fixture(scope="module")
def engines(tiny_llama, alone):
    """By number of rows; they share what was found about widths."""
    engines = {}
    for batch_size in (2, 3):
        engines[batch_size] = LeanLlama(tiny_llama.config, tiny_llama.state_dict(), batch_size=batch_size)
        engines[batch_size].exact_widths = alone.exact_widths
    return engines


def new_request(prompt, num_tokens, **settings):
    return Request(prompt, GenerationSettings(**settings), Stopper(max_new_tokens=num_tokens, eos_ids=EOS))


def plain(alone, request):
    return generate(alone, request.prompt, request.settings, request.stopper)


@settings(max_examples=25)
@given(asked=requests, batch_size=st.sampled_from([2, 3]), seed=st.integers(0, 99), penalty=st.sampled_from([1.0, 1.3]))
def test_every_row_is_its_own_plain_text(alone, engines, asked, batch_size, seed, penalty):
    asked = [new_request(prompt, num_tokens, repetition_penalty=penalty) for prompt, num_tokens in asked]
    expected = [plain(alone, request) for request in asked]
    texts = [[*request.prompt, *text.tokens] for request, text in zip(asked, expected, strict=True)]
    drafters = [Guesser(texts, seed=seed + row, tree=row == 0) for row in range(batch_size)]
    found = speculate_many(engines[batch_size], asked, drafters=drafters, num_draft=NUM_DRAFT)
    assert [list(text.tokens) for text in found] == [list(text.tokens) for text in expected]
    assert [text.stop_reason for text in found] == [text.stop_reason for text in expected]
    for text in found:
        assert not text.dropped_drafts
        assert sum(step.num_emitted for step in text.rounds) == max(len(text.tokens) - 1, 0)


@settings(max_examples=15)
@given(asked=requests, seed=st.integers(0, 99), name=st.sampled_from(["block", "sample", "delta", "coupled"]))
def test_every_sampled_row_is_the_text_of_its_own_seed(alone, engines, asked, seed, name):
    verifier = VERIFIERS.load(name)()
    asked = [
        new_request(prompt, num_tokens, do_sample=True, temperature=0.8, top_k=20, seed=seed + number)
        for number, (prompt, num_tokens) in enumerate(asked)
    ]
    expected = [
        speculate(
            alone,
            request.prompt,
            request.settings,
            request.stopper,
            drafter=Guesser([], seed=seed),
            num_draft=NUM_DRAFT,
            verifier=verifier,
        )
        for request in asked
    ]
    drafters = [Guesser([], seed=seed) for _ in range(3)]
    found = speculate_many(engines[3], asked, drafters=drafters, num_draft=NUM_DRAFT, verifier=verifier)
    assert [list(text.tokens) for text in found] == [list(text.tokens) for text in expected]


@settings(max_examples=15)
@given(known=st.lists(st.integers(0, 96), min_size=3, max_size=30), batch_size=st.sampled_from([2, 3]))
def test_ngram_drafts_in_every_row(alone, engines, known, batch_size):
    asked = [new_request(known * (1 + number), 20) for number in range(4)]
    drafters = [NgramDrafter() for _ in range(batch_size)]
    found = speculate_many(engines[batch_size], asked, drafters=drafters, num_draft=NUM_DRAFT)
    assert [list(text.tokens) for text in found] == [list(plain(alone, request).tokens) for request in asked]


def test_fewer_passes_than_tokens_and_as_many_as_alone(alone, engines):
    """A row that guesses right takes as few passes as alone, whatever its neighbour does."""
    good, bad = new_request([5, 6], 24), new_request([7], 24)
    texts = [[*request.prompt, *plain(alone, request).tokens] for request in (good, bad)]
    found = speculate_many(
        engines[2], [good, bad], drafters=[Guesser(texts, seed=1, accuracy=1.0), Silent()], num_draft=NUM_DRAFT
    )
    single = speculate(
        alone,
        good.prompt,
        good.settings,
        good.stopper,
        drafter=Guesser(texts, seed=1, accuracy=1.0),
        num_draft=NUM_DRAFT,
    )
    counts = [(step.num_drafted, step.num_accepted, step.num_emitted) for step in found[0].rounds]
    assert counts == [(step.num_drafted, step.num_accepted, step.num_emitted) for step in single.rounds]
    assert len(found[0].rounds) < len(found[0].tokens) - 1
    assert len(found[1].rounds) == len(found[1].tokens) - 1


def test_a_row_at_the_last_position_does_not_hold_back_the_others(alone, engines):
    """The widest pass reaches beyond the last position of the longest row, in padding only."""
    full = new_request([9] * (alone.max_positions - 3), 4)
    long = new_request([5, 6], 30)
    texts = [[*request.prompt, *plain(alone, request).tokens] for request in (full, long)]
    drafters = [Silent(), Guesser(texts, seed=0, accuracy=1.0)]
    found = speculate_many(engines[2], [full, long], drafters=drafters, num_draft=NUM_DRAFT)
    assert [list(text.tokens) for text in found] == [
        text[len(r.prompt) :] for text, r in zip(texts, (full, long), strict=True)
    ]


def test_each_row_streams_its_own_tokens_and_keeps_its_own_logits(alone, engines):
    streams = {}
    asked = [
        Request(
            [token],
            GenerationSettings(),
            Stopper(max_new_tokens=9),
            on_tokens=streams.setdefault(token, []).extend,
            keeps_logits=True,
        )
        for token in (4, 8, 15)
    ]
    drafters = [NgramDrafter(), NgramDrafter()]
    for request, text in zip(
        asked, speculate_many(engines[2], asked, drafters=drafters, num_draft=[FixedLength(2), FixedLength(5)]), strict=True
    ):
        assert streams[request.prompt[0]] == list(text.tokens)
        assert torch.stack(list(text.logits)).argmax(-1).tolist() == list(text.tokens)


def test_what_cannot_be_run_is_said_before_anything_runs(engines):
    request = new_request([1], 5)
    with pytest.raises(UserError, match="one of each per row"):
        speculate_many(engines[2], [request], drafters=[Silent()], num_draft=2)
    with pytest.raises(UserError, match="positions"):
        speculate_many(engines[2], [request, new_request([1] * 512, 5)], drafters=[Silent()] * 2, num_draft=2)
    with pytest.raises(UserError, match="one text at a time"):
        speculate(engines[2], [1], request.settings, request.stopper, drafter=Silent(), num_draft=2)
    assert speculate_many(engines[2], [], drafters=[Silent()] * 2, num_draft=2) == []


def test_the_first_path_of_a_tree_is_a_chain_of_its_own_nodes():
    tree = Draft([5, 6, 7, 8, 9], [-1, -1, 0, 1, 2], "test", [0.9, 0.8, 0.7, 0.6, 0.5], torch.eye(5))
    chain = tree.first_path()
    assert chain.is_chain
    assert list(chain.tokens) == [5, 7, 9]
    assert list(chain.confidence) == [0.9, 0.7, 0.5]
    assert torch.equal(chain.law_nV, torch.eye(5)[[0, 2, 4]])
