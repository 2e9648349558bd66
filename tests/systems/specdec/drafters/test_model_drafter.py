"""The draft model: in step with the context, lossless, honest about its law, and across tokenizers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import MissingArtifactError, UserError
from tenfold.nn import stories
from tenfold.nn.drafting import Draft
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.sampling import GenerationSettings
from tenfold.store.artifacts import find_data
from tenfold.systems.specdec.drafters.codec import Reencoder
from tenfold.systems.specdec.drafters.in_step import InStep
from tenfold.systems.specdec.drafters.model import ModelDraftConfig, ModelDrafter, SharedVocabulary
from tenfold.systems.specdec.drafters.retokenized import RetokenizedDrafter
from tiny_llama import GREEDY, VOCAB, plain, speculated, tiny_llama

TARGET, SMALL = tiny_llama(0), tiny_llama(1, num_layers=1)
SAMPLING = GenerationSettings(do_sample=True, temperature=0.8, top_k=9, seed=5)
TOKEN = st.integers(0, VOCAB - 1)
TOKENS = st.lists(TOKEN, min_size=1, max_size=30)
NO_LOGITS = torch.empty(0, VOCAB)


class Letters:
    """A codec of single letters or, with `pairs`, of letter pairs wherever one fits."""

    def __init__(self, pairs: bool) -> None:
        letters = list("abcdefghijklmnopqrstuvwxyz ABCDEFGHI")
        self.texts = letters + [a + b for a in "abcde" for b in "abcde"] if pairs else letters
        self.beginning = [] if pairs else [0]

    def encode(self, text: str) -> list[int]:
        tokens = []
        while text:
            size = 2 if text[:2] in self.texts else 1
            tokens.append(self.texts.index(text[:size]))
            text = text[size:]
        return tokens

    def decode(self, tokens) -> str:
        return "".join(self.texts[token] for token in tokens)

    def pieces(self) -> list[str]:
        return self.texts


PAIRS, SINGLES = Letters(pairs=True), Letters(pairs=False)


class Echo:
    """Drafts fixed tokens."""

    name, state = "echo", "none"

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def reset(self) -> None: ...

    def propose(self, context, num_tokens: int) -> Draft:
        return Draft.chain(self.tokens[:num_tokens], self.name)

    def observe(self, emitted, logits_KV, draft) -> None: ...


@settings(deadline=None, max_examples=12)
@given(prompt=TOKENS, rounds=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5), TOKEN), max_size=5))
def test_the_cache_follows_accepted_tokens_and_forgets_rejected_ones(prompt, rounds):
    drafter = ModelDrafter(InStep(SMALL), GREEDY)
    context = list(prompt)
    for num_tokens, num_accepted, correction in rounds:
        drafted = list(drafter.propose(context, num_tokens).tokens)
        assert drafter.network.cached[: len(context)] == context
        assert SMALL.lengths == [len(drafter.network.cached)]
        assert drafted == plain(tiny_llama(1, num_layers=1), context, num_tokens)
        context += [*drafted[:num_accepted], correction]


@settings(deadline=None, max_examples=8)
@given(prompt=TOKENS, seed=st.integers(0, 3))
def test_greedy_speculation_is_lossless(prompt, seed):
    drafter = ModelDrafter(InStep(tiny_llama(seed, num_layers=1)), GREEDY)
    assert list(speculated(TARGET, drafter, prompt, 24).tokens) == plain(TARGET, prompt, 24)


def test_a_draft_model_equal_to_the_target_is_always_right():
    result = speculated(TARGET, ModelDrafter(InStep(tiny_llama(0)), GREEDY), [1, 2, 3], 21)
    assert [step.num_accepted for step in result.rounds] == [4, 4, 4, 4]


def test_drawn_tokens_come_with_the_law_they_were_drawn_from():
    draft = ModelDrafter(InStep(SMALL), SAMPLING).propose([1, 2, 3], 4)
    assert draft.law_nV is not None
    other = tiny_llama(1, num_layers=1)
    logits_TV = torch.cat([other.prefill([[1, 2, 3]]), other.forward(torch.tensor([draft.tokens]))[0]])
    kept_TV = logits_TV[:4].topk(9).values[:, -1:]
    law_TV = (logits_TV[:4].masked_fill(logits_TV[:4] < kept_TV, float("-inf")) / 0.8).softmax(-1)
    assert torch.allclose(draft.law_nV, law_TV, atol=1e-5)
    likelihoods = [float(row[token]) for row, token in zip(law_TV, draft.tokens, strict=True)]
    assert draft.confidence == pytest.approx(likelihoods, abs=1e-5)


def test_the_same_seed_draws_the_same_drafts():
    drafter = ModelDrafter(InStep(SMALL), SAMPLING)
    first, second = (list(drafter.propose([4, 5], 6).tokens) for _ in range(2))
    drafter.reset()
    assert list(drafter.propose([4, 5], 6).tokens) == first != second


def test_coupled_draws_depend_on_place_and_seed_only():
    drafter = ModelDrafter(InStep(tiny_llama(0)), SAMPLING, ModelDraftConfig(coupled=True))
    context = [7, 8, 9]
    first = list(drafter.propose(context, 4).tokens)
    assert list(drafter.propose([*context, first[0]], 3).tokens) == first[1:]


def test_the_draft_stops_before_an_unlikely_token():
    sure = ModelDrafter(InStep(SMALL), GREEDY).propose([3, 1, 4], 8)
    weakest = min(sure.confidence)
    config = ModelDraftConfig(min_confidence=weakest + 1e-6)
    short = ModelDrafter(InStep(tiny_llama(1, num_layers=1)), GREEDY, config).propose([3, 1, 4], 8)
    assert list(short.tokens) == list(sure.tokens[: list(sure.confidence).index(weakest)])


def test_no_draft_beyond_the_draft_models_positions():
    drafter = ModelDrafter(InStep(tiny_llama(1, positions=20)), GREEDY)
    assert len(drafter.propose([1] * 18, 8).tokens) == 3
    assert len(drafter.propose([1] * 20, 8).tokens) == 1
    assert not drafter.propose([1] * 21, 8).tokens


def test_a_draft_model_of_several_rows_is_refused():
    several = tiny_llama(1)
    several.batch_size = 2
    with pytest.raises(ValueError, match="batch_size=1"):
        InStep(several)


@settings(deadline=None, max_examples=40)
@given(text=st.text("abcde xyz", min_size=1, max_size=60), cuts=st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_a_growing_context_re_encoded_piece_by_piece_keeps_its_text(text, cuts):
    context, reencoder, end = PAIRS.encode(text), Reencoder(PAIRS, SINGLES, lookbehind=4), 0
    for cut in cuts:
        end = min(len(context), end + cut)
        own = reencoder(context[:end])
        assert own == [0, *SINGLES.encode(PAIRS.decode(context[:end]))]


def test_a_context_that_does_not_continue_the_last_one_is_encoded_anew():
    reencoder = Reencoder(PAIRS, SINGLES)
    reencoder(PAIRS.encode("abcde"))
    assert reencoder(PAIRS.encode("xyz")) == [0, *SINGLES.encode("xyz")]


def test_a_retokenized_draft_is_split_as_after_the_context_and_has_no_law():
    inner = Echo(SINGLES.encode("cdab"))
    drafter = RetokenizedDrafter(inner, PAIRS, SINGLES, own_per_token=2)
    draft = drafter.propose(PAIRS.encode("xab"), 3)
    assert PAIRS.decode(draft.tokens) == "cdab"
    assert draft.law_nV is None
    assert len(drafter.propose(PAIRS.encode("xab"), 1).tokens) == 1


def test_a_shared_vocabulary_maps_tokens_of_the_same_text():
    vocabulary = SharedVocabulary(PAIRS, SINGLES, VOCAB + 3)
    logits_V = vocabulary.in_target(torch.arange(36.0))
    assert logits_V.tolist() == [*range(36), *[float("-inf")] * (VOCAB + 3 - 36)]
    assert vocabulary.own_token(5) == 5


@settings(deadline=None, max_examples=5)
@given(text=st.text("abcde xyz", min_size=1, max_size=20))
def test_speculation_across_tokenizers_is_lossless(text):
    prompt = PAIRS.encode(text)
    size = TARGET.vocab_size
    shared = ModelDrafter(InStep(SMALL), GREEDY, vocabulary=SharedVocabulary(PAIRS, Padded(), size))
    carried = RetokenizedDrafter(ModelDrafter(InStep(tiny_llama(2)), GREEDY), PAIRS, Padded(), own_per_token=2)
    for drafter in (shared, carried):
        assert list(speculated(TARGET, drafter, prompt, 16).tokens) == plain(TARGET, prompt, 16)


class Padded(Letters):
    """Single letters, and a capital for every further token of the tiny model."""

    def __init__(self) -> None:
        super().__init__(pairs=False)

    def decode(self, tokens) -> str:
        return "".join(self.texts[token % len(self.texts)] for token in tokens)


def test_vocabularies_with_next_to_nothing_in_common_are_refused():
    few = Letters(pairs=False)
    few.texts = list("abcXYZ")
    with pytest.raises(UserError, match="share 3 tokens"):
        SharedVocabulary(PAIRS, few, VOCAB)


@pytest.fixture(scope="module")
def story() -> stories.Stories:
    try:
        return stories.load(find_data("stories260k"))
    except MissingArtifactError as error:
        pytest.skip(str(error))


def test_stories_tells_its_story(story):
    engine = LeanLlama(story.config, story.state)
    engine.seeks_exactness = False
    prompt = story.tokenizer.prompt("Once upon a time")
    assert prompt[0] == stories.BOS
    text = story.tokenizer.decode([*prompt, *plain(engine, prompt, 25)])
    assert text.strip().startswith("Once upon a time, there was a little girl named Lily. She loved")


def test_stories_tokenizer_round_trip(story):
    for text in ("there was a cat", "naïve 🙂 text\n", ""):
        assert story.tokenizer.decode(story.tokenizer.encode(text)) == text


def test_stories_without_its_files_is_refused(tmp_path):
    with pytest.raises(MissingArtifactError, match=r"stories260K\.bin"):
        stories.load(tmp_path)


def test_stories_drafts_for_itself_by_either_bridge(story):
    """The drafter's tokenizer is the target's own here, so both bridges must give it everything."""
    target, own = LeanLlama(story.config, story.state), LeanLlama(story.config, story.state)
    target.seeks_exactness = own.seeks_exactness = False
    codec, prompt = story.tokenizer, story.tokenizer.prompt("Once upon a time")
    expected = plain(target, prompt, 40)
    shared = ModelDrafter(InStep(own), GREEDY, vocabulary=SharedVocabulary(codec, codec, target.vocab_size))
    for drafter in (shared, RetokenizedDrafter(ModelDrafter(InStep(own), GREEDY), codec, codec)):
        result = speculated(target, drafter, prompt, 40)
        assert list(result.tokens) == expected
        assert sum(step.num_accepted for step in result.rounds) > 25
