"""The JSON judge equals scikit-learn's pipeline to 1e-9, is read back bit for bit, and is fast."""

import random
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.evals.judges.fitting import FitConfig, Labelled, fit_linear
from tenfold.evals.judges.linear import TOKENS, Features, LinearJudge

WORDS = re.findall(r"\S+", "the answer is not given so we need more sheep apples # ## 7 cost enough sum total é naïve ? ! .")


def corpus(number: int, *, length: int = 40, seed: int = 0) -> tuple[list[Features], list[bool]]:
    """Texts of random words; positive ones say `not enough` more often."""
    chance = random.Random(seed)
    cases, labels = [], []
    for _ in range(number):
        label = chance.random() < 0.4
        words = [chance.choice(WORDS) for _ in range(length)]
        if chance.random() < (0.8 if label else 0.2):
            words.insert(chance.randrange(length), "Not ENOUGH")
        cases.append(Features(" ".join(words), {"boxed": float(chance.random() < 0.5), "asks": float(label)}))
        labels.append(label)
    return cases, labels


CASES, LABELS = corpus(200)
JUDGE = fit_linear(Labelled(CASES, LABELS))


@pytest.mark.parametrize("sublinear", [True, False])
@pytest.mark.parametrize("pairs", [True, False])
def test_scores_equal_scikit_learn(sublinear, pairs):
    config = FitConfig(sublinear=sublinear, pairs=pairs, min_documents=3, max_terms=300)
    judge = fit_linear(Labelled(CASES, LABELS), config)
    vectorizer = TfidfVectorizer(
        token_pattern=TOKENS, ngram_range=(1, 2 if pairs else 1), sublinear_tf=sublinear, min_df=3, max_features=300
    )
    flags = [[case.flags["asks"], case.flags["boxed"]] for case in CASES]
    inputs = sparse.hstack([vectorizer.fit_transform([case.text for case in CASES]), sparse.csr_matrix(flags)]).tocsr()
    model = LogisticRegression(C=1.0, max_iter=2000, tol=1e-6).fit(inputs, LABELS)
    fresh, _ = corpus(60, seed=1)
    fresh += [Features("", {"boxed": 0.0, "asks": 1.0}), Features("unheard of", {"boxed": 1.0, "asks": 0.0})]
    flags = [[case.flags["asks"], case.flags["boxed"]] for case in fresh]
    inputs = sparse.hstack([vectorizer.transform([case.text for case in fresh]), sparse.csr_matrix(flags)]).tocsr()
    scores = np.array([judge.score(case) for case in fresh])
    assert np.abs(scores - model.decision_function(inputs)).max() < 1e-9
    assert np.allclose(judge.probabilities(fresh), judge.platt.apply(scores), rtol=0, atol=0)


@given(st.text(max_size=400))
def test_any_text_has_a_probability(text):
    assert 0 <= JUDGE.probability(Features(text, {"boxed": 0.0, "asks": 0.0})) <= 1


def test_stored_judge_is_the_same_judge(tmp_path):
    JUDGE.write(tmp_path / "judge.json")
    again = LinearJudge.read(tmp_path / "judge.json")
    assert again == JUDGE
    assert [again.score(case) for case in CASES] == [JUDGE.score(case) for case in CASES]


def test_fit_is_repeatable():
    assert fit_linear(Labelled(CASES, LABELS)) == JUDGE


def test_terms_of_too_few_domains_are_left_out():
    cases = [Features(f"{case.text} {'sheep' if i % 2 else 'goat'}house") for i, case in enumerate(CASES)]
    domains = ["farm" if i % 2 else "alp" for i in range(len(cases))]
    judge = fit_linear(Labelled(cases, LABELS, domains=domains), FitConfig(min_domains=2))
    assert "enough" in judge.terms
    assert not {"sheephouse", "goathouse"} & set(judge.terms)
    assert "goathouse" in fit_linear(Labelled(cases, LABELS, domains=domains)).terms


def test_case_of_weight_two_counts_as_two():
    double = Labelled(CASES, LABELS, weights=[2.0] * len(CASES))
    closer = fit_linear(Labelled(CASES, LABELS), FitConfig(strength=2.0))
    assert np.allclose(fit_linear(double).weights, closer.weights, atol=1e-3)


def test_scaled_flags_weigh_more_under_the_same_penalty():
    scaled = fit_linear(Labelled(CASES, LABELS), FitConfig(flag_scale=5.0))
    assert scaled.flags["asks"] > JUDGE.flags["asks"]


def test_what_tells_the_labels_apart_has_the_largest_weight():
    assert JUDGE.strongest(1)[0][0] == "asks"
    assert JUDGE.probability(Features("not enough", {"boxed": 0, "asks": 1})) > 0.9


def test_a_thousand_long_texts_in_three_seconds():
    cases = [Features(case.text, case.flags) for case in corpus(1000, length=2500, seed=2)[0]]
    assert sum(len(case.text) for case in cases) > 10_000_000
    JUDGE.probability(cases[0])
    start = time.process_time()
    JUDGE.probabilities(cases)
    spent = time.process_time() - start
    assert spent < 3


def test_other_flags_are_refused():
    with pytest.raises(ConfigError, match="got the flags boxed; the judge was fitted with asks, boxed"):
        JUDGE.score(Features("text", {"boxed": 1.0}))
    with pytest.raises(ConfigError, match="give all cases the same flags"):
        fit_linear(Labelled([*CASES, Features("text", {})], [*LABELS, True]))


def test_too_few_of_a_label_are_refused():
    with pytest.raises(ConfigError, match="got 12 cases, 2 of them positive; give at least 10 of each label"):
        fit_linear(Labelled(CASES[:12], [True, True] + [False] * 10))


def test_bad_files(tmp_path):
    with pytest.raises(MissingArtifactError, match="no judge"):
        LinearJudge.read(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"tokens": "x"}')
    with pytest.raises(ConfigError, match="does not hold a linear judge"):
        LinearJudge.read(tmp_path / "other.json")
