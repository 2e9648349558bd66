"""The loop: its text is the plain one, whatever the drafter does."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import UserError
from tenfold.nn.drafting import NOTHING, ROOT, Draft
from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.sampling import GenerationSettings, Processors
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.randomness import draw_coupled
from tenfold.systems.specdec.speculate import Silent, speculate
from tenfold.systems.specdec.verifiers import VERIFIERS
from tenfold.systems.specdec.verifiers.coupled import Coupled

NEW_TOKENS = 20
SAMPLING = {"max_new_tokens": NEW_TOKENS, "do_sample": True, "temperature": 0.8, "top_k": 20}

prompts = st.lists(st.integers(0, 96), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def engine(tiny_llama):
    return LeanLlama(tiny_llama.config, tiny_llama.state_dict())


class Guesser:
    """Grows random trees (or chains); most tokens are those of a known text, so that some drafts hold."""

    name, state = "guesser", "none"

    def __init__(self, known, *, seed, tree=False, accuracy=0.75):
        self.known, self.tree, self.accuracy = known, tree, accuracy
        self.random = random.Random(seed)

    def reset(self):
        pass

    def propose(self, context, num_tokens):
        tokens, parents = [], []
        for node in range(self.random.randint(0, num_tokens)):
            parent = self.random.randrange(ROOT, node) if self.tree else node - 1
            parents.append(parent)
            place = len(context) + len(Draft((), parents, "").path(node)) - 1
            is_right = place < len(self.known) and self.random.random() < self.accuracy
            tokens.append(self.known[place] if is_right else self.random.randrange(97))
        return Draft(tokens, parents, self.name)

    def observe(self, emitted, logits_KV, draft):
        assert len(logits_KV) == len(draft.tokens) + 1


def run(engine, prompt, generation, drafter, *, eos=(), **keywords):
    stopper = Stopper(max_new_tokens=generation.max_new_tokens, eos_ids=eos)
    return speculate(engine, prompt, generation, stopper, drafter=drafter, num_draft=5, **keywords)


def plain(engine, prompt, generation, eos=()):
    return generate(engine, prompt, generation, Stopper(max_new_tokens=generation.max_new_tokens, eos_ids=eos))


@settings(max_examples=25)
@given(prompt=prompts, seed=st.integers(0, 99), tree=st.booleans(), penalty=st.sampled_from([1.0, 1.3]))
def test_greedy_speculation_is_lossless(engine, prompt, seed, tree, penalty):
    generation = GenerationSettings(max_new_tokens=NEW_TOKENS, repetition_penalty=penalty)
    expected = plain(engine, prompt, generation)
    found = run(engine, prompt, generation, Guesser([*prompt, *expected.tokens], seed=seed, tree=tree))
    assert list(found.tokens) == list(expected.tokens)
    assert found.lossless and found.verifier == "greedy" and not found.dropped_drafts


@settings(max_examples=15)
@given(prompt=prompts, seed=st.integers(0, 99), tree=st.booleans())
def test_coupled_speculation_is_plain_coupled_decoding_text_for_text(engine, prompt, seed, tree):
    generation = GenerationSettings(**SAMPLING, seed=seed)
    processors, text = Processors(generation), list(prompt)
    for _ in range(NEW_TOKENS):
        engine.reset()
        law_V = processors.law(engine.prefill([text]), [text])[0].numpy()
        text.append(draw_coupled(seed, len(text), law_V))
    assert list(run(engine, prompt, generation, Silent(), verifier=Coupled()).tokens) == text[len(prompt) :]
    found = run(engine, prompt, generation, Guesser(text, seed=seed, tree=tree), verifier=Coupled())
    assert list(found.tokens) == text[len(prompt) :]


@pytest.mark.parametrize("name", ["sample", "delta", "block"])
def test_without_drafts_sampling_is_plain_sampling(engine, name):
    generation = GenerationSettings(**SAMPLING, seed=3)
    found = run(engine, [5, 6], generation, Silent(), verifier=VERIFIERS.load(name)())
    assert list(found.tokens) == list(plain(engine, [5, 6], generation).tokens)


@pytest.mark.parametrize("name", ["greedy", "sample", "delta", "block", "coupled"])
def test_without_do_sample_every_exact_verifier_is_greedy(engine, name):
    generation = GenerationSettings(max_new_tokens=NEW_TOKENS)
    expected = plain(engine, [5, 6], generation)
    drafter = Guesser([5, 6, *expected.tokens], seed=1, tree=True)
    assert list(run(engine, [5, 6], generation, drafter, verifier=VERIFIERS.load(name)()).tokens) == list(expected.tokens)


@pytest.mark.parametrize("tree", [False, True])
def test_sampling_is_the_same_for_the_same_seed(engine, tree):
    texts = [run(engine, [9], GenerationSettings(**SAMPLING, seed=4), Guesser([], seed=2, tree=tree)) for _ in range(2)]
    assert texts[0].tokens == texts[1].tokens
    assert texts[0].verifier == "block"


def test_a_stop_inside_a_block_cuts_it(engine):
    generation = GenerationSettings(max_new_tokens=NEW_TOKENS)
    text = list(plain(engine, [5, 6], generation).tokens)
    eos = next(token for token in text[2:] if token != text[0])
    expected = plain(engine, [5, 6], generation, eos=[eos])
    streamed = []
    oracle = Guesser([5, 6, *text], seed=0, accuracy=1.0)
    oracle.random.randint = lambda _, num_tokens: num_tokens
    found = run(engine, [5, 6], generation, oracle, eos=[eos], on_tokens=streamed.extend)
    assert found.stop_reason == "eos"
    assert list(found.tokens) == list(expected.tokens) == streamed
    assert sum(step.num_emitted for step in found.rounds) == len(found.tokens) - 1
    assert all(step.num_accepted <= step.num_emitted for step in found.rounds)


class Scripted(Silent):
    """Gives one draft again and again, or raises."""

    def __init__(self, draft):
        self.draft = draft

    def propose(self, context, num_tokens):
        if isinstance(self.draft, Exception):
            raise self.draft
        return self.draft


@pytest.mark.parametrize(
    ("draft", "why"),
    [
        (Draft.chain([97], "bad"), "token 97"),
        (Draft.chain([-1], "bad"), "token -1"),
        (Draft.chain([1] * 9, "bad"), "room for"),
        (Draft([1, 2], [1, ROOT], "bad"), "parents"),
        (Draft([1, 2], [ROOT], "bad"), "parents"),
        (None, "AttributeError"),
        (RuntimeError("lost"), "RuntimeError: lost"),
    ],
)
@pytest.mark.parametrize("sampling", [False, True])
def test_a_failing_drafter_cannot_harm_the_text(engine, draft, why, sampling):
    generation = GenerationSettings(**SAMPLING) if sampling else GenerationSettings(max_new_tokens=NEW_TOKENS)
    found = run(engine, [5, 6], generation, Scripted(draft))
    assert list(found.tokens) == list(plain(engine, [5, 6], generation).tokens)
    assert len(found.dropped_drafts) == NEW_TOKENS - 2, "the last token has no room for a draft"
    assert why in found.dropped_drafts[0]
    assert all(step.num_drafted == 0 for step in found.rounds)


def test_a_drafter_that_cannot_learn_is_counted(engine):
    class Unteachable(Silent):
        def observe(self, emitted, logits_KV, draft):
            raise IndexError("full")

    found = run(engine, [5], GenerationSettings(max_new_tokens=4), Unteachable())
    assert found.dropped_drafts == ["IndexError: full"] * 3


@pytest.mark.parametrize("name", ["typical", "lenient"])
def test_lossy_verifiers_need_consent(engine, name):
    generation, verifier = GenerationSettings(**SAMPLING), VERIFIERS.load(name)()
    with pytest.raises(UserError, match="allow_lossy"):
        run(engine, [5], generation, Silent(), verifier=verifier)
    found = run(engine, [5], generation, Silent(), verifier=verifier, allow_lossy=True)
    assert not found.lossless and found.verifier == name


def test_greedy_verification_refuses_to_sample(engine):
    with pytest.raises(UserError, match="greedy"):
        run(engine, [5], GenerationSettings(**SAMPLING), Silent(), verifier=VERIFIERS.load("greedy")())


def test_nothing_to_generate(engine):
    assert run(engine, [5], GenerationSettings(max_new_tokens=0), Silent()).tokens == ()
    assert Silent().propose([1], 3) is NOTHING


def test_a_full_cache_of_an_earlier_request_is_no_obstacle(engine):
    engine.reset()
    engine.prefill([[1] * 500])
    assert len(run(engine, [5], GenerationSettings(max_new_tokens=NEW_TOKENS), Silent()).tokens) == NEW_TOKENS
