"""One-prefill verdicts against the log-probability of each whole sequence, for several tokenizers and any labels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast

from tenfold.core.errors import ConfigError, UserError
from tenfold.systems.shieldlm.prompting import encode
from tenfold.systems.shieldlm.verdict import VerdictScorer, candidate_ids
from tiny_guard import loaded_with, tiny_loaded, tiny_model, tiny_scorer
from tiny_tokenizer import tiny_tokenizer

TEXTS = st.text(alphabet="ab 你好.\n", min_size=1, max_size=30)
TWELVE = {f"kind{number}": f" kind {'abcdefghijkl'[number]}" for number in range(12)}


def words_tokenizer():
    """Cuts at blanks and keeps them as a mark, as SentencePiece does."""
    tokenizer = Tokenizer(tokenizer_models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    specials = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(["the verdict is safe or unsafe [Answer] A: B:"] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


@torch.inference_mode()
def slow_logps(loaded, model, prompt, texts):
    """The sum of log-probabilities of all tokens after what every candidate and the prompt share."""
    whole = [encode(loaded.tokenizer, prompt, text) for text in texts]
    bare = encode(loaded.tokenizer, prompt)
    shared = next((at for at in range(len(bare)) if any(ids[at] != bare[at] for ids in whole)), len(bare))
    found = []
    for ids in whole:
        law = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        found.append(sum(law[at - 1, ids[at]].item() for at in range(shared, len(ids))))
    return found


@pytest.mark.parametrize("kind", ["bytes", "words"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_verdicts_equal_brute_force(kind, lang):
    loaded = tiny_loaded() if kind == "bytes" else loaded_with(words_tokenizer())
    model = tiny_model(len(loaded.tokenizer))
    scorer = VerdictScorer(loaded)
    for query, response, rules in (("", "a b", ()), ("hi there", "你好 ab.", ("no ab", "no 你"))):
        prompt = scorer.prompt(query, response, rules, lang=lang)
        scores = scorer.score_prompt(prompt)
        slow = slow_logps(loaded, model, prompt, list(prompt.verdicts.values()))
        np.testing.assert_allclose(list(scores.logps.values()), slow, rtol=0, atol=1e-4)


def test_twelve_labels_equal_brute_force_and_permute():
    loaded, model = tiny_loaded(), tiny_model(300)
    scorer = tiny_scorer()
    prompt = scorer.prompt("q", "a b a b", ("one rule",))
    scores = scorer.score_prompt(prompt, TWELVE)
    slow = slow_logps(loaded, model, prompt, list(TWELVE.values()))
    np.testing.assert_allclose(list(scores.logps.values()), slow, rtol=0, atol=1e-4)
    turned = dict(reversed(TWELVE.items()))
    other = scorer.score_prompt(prompt, turned)
    assert other.probabilities == pytest.approx(scores.probabilities)
    assert sum(scores.probabilities.values()) == pytest.approx(1)


@settings(max_examples=15)
@given(texts=st.lists(TEXTS, min_size=2, max_size=4))
def test_what_was_judged_before_changes_no_bit(texts):
    """The kept keys and values of a shared beginning give the bits of a fresh start."""
    scorer = tiny_scorer()
    alone = []
    for text in texts:
        loaded_scorer = tiny_scorer()
        loaded_scorer.engine.reset()
        alone.append(loaded_scorer.score("q", text, ("a rule",)).logps)
    assert [scorer.score("q", text, ("a rule",)).logps for text in texts] == alone


def test_a_label_that_begins_another_is_told_apart():
    scorer = tiny_scorer()
    prompt = scorer.prompt("", "x")
    _, tails = candidate_ids(scorer.tokenizer, prompt, [" safe", " safe enough"])
    assert all(tails)
    assert len(scorer.score_prompt(prompt, {"a": " safe", "b": " safe enough"}).logps) == 2


def test_equal_labels_and_too_long_texts_are_refused():
    scorer = tiny_scorer()
    with pytest.raises(ConfigError, match="must differ"):
        scorer.score_prompt(scorer.prompt("", "x"), {"a": " s", "b": " s"})
    with pytest.raises(UserError, match="do not fit"):
        scorer.score("", "ab " * 2000)


def test_coverage_is_the_probability_of_any_label():
    scores = tiny_scorer().score("q", "a b")
    assert scores.coverage == pytest.approx(sum(np.exp(list(scores.logps.values()))))
    p = scores.probabilities["unsafe"]
    assert scores.log_odds("unsafe") == pytest.approx(np.log(p / (1 - p)))


@pytest.mark.model
def test_default_model_needs_no_extra_positions_in_english_and_few_in_chinese(smollm2):
    scorer = VerdictScorer(smollm2)
    assert scorer.score("hello", "hi there").num_extra_tokens == 0
    assert 0 < scorer.score("你好", "你好啊", lang="zh").num_extra_tokens <= 13


@pytest.mark.model
def test_default_model_scores_equal_brute_force_in_float32():
    from tenfold.nn import models

    loaded = models.load("smollm2", dtype="fp32", kernel="native")
    model = models.load_transformers(loaded.path, "fp32")
    scorer = VerdictScorer(loaded)
    for lang, response in (("en", "The garden is green."), ("zh", "花园是绿的。")):
        prompt = scorer.prompt("And now?", response, ("Be kind.",) if lang == "en" else ("要友善。",), lang=lang)
        slow = slow_logps(loaded, model, prompt, list(prompt.verdicts.values()))
        np.testing.assert_allclose(list(scorer.score_prompt(prompt).logps.values()), slow, rtol=0, atol=1e-4)


def test_the_tokenizer_used_here_has_real_merges():
    assert len(tiny_tokenizer()("answer")["input_ids"]) < 6
