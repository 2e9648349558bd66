"""MinHash estimates the Jaccard index; near duplicates equal a search over all pairs."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tenfold.systems.glan import duplicates
from tenfold.systems.glan.duplicates import Texts, near_duplicates
from tenfold.systems.glan.grams import gram_hashes, shingles, word_hashes
from tenfold.systems.glan.likeness import alike
from tenfold.systems.glan.minhash import NUM_HASHES, jaccard, signatures

WORDS = [f"word{number}" for number in range(400)]


def sentence(rng, length=40):
    return " ".join(rng.choice(WORDS) for _ in range(length))


def changed(rng, text, number):
    words = text.split()
    for place in rng.sample(range(len(words)), number):
        words[place] = rng.choice(WORDS)
    return " ".join(words)


def by_definition(texts, threshold=0.8):
    """Word 3-shingles as sets of tuples, all pairs."""
    sets = [{tuple(w[i : i + 3]) for i in range(len(w) - 2)} for w in (text.split() for text in texts)]
    found = {}
    for index, own in enumerate(sets):
        for earlier in range(index):
            if earlier not in found and len(own & sets[earlier]) / len(own | sets[earlier]) >= threshold:
                found[index] = earlier
                break
    return found


@given(seed=st.integers(0, 10_000))
def test_near_duplicates_equal_a_search_over_all_pairs(seed):
    rng = random.Random(seed)
    texts = [sentence(rng) for _ in range(8)]
    texts += [changed(rng, rng.choice(texts), rng.randrange(6)) for _ in range(12)]
    rng.shuffle(texts)
    assert near_duplicates(texts) == by_definition(texts)


def test_signatures_estimate_the_jaccard_index():
    rng = random.Random(1)
    first = sentence(rng, 200)
    for number in (2, 8, 20):
        second = changed(rng, first, number)
        one, two = signatures([first.split(), second.split()])
        true = jaccard(shingles(first, 3), shingles(second, 3))
        assert abs(np.mean(one == two) - true) < 4 * (true * (1 - true) / NUM_HASHES) ** 0.5


def test_signature_does_not_depend_on_the_batch():
    rng = random.Random(2)
    texts = [sentence(rng, rng.randrange(0, 9)).split() for _ in range(1100)]
    whole = signatures(texts)
    assert all((signatures([texts[i]])[0] == whole[i]).all() for i in (0, 511, 512, 1099))


@given(words=st.lists(st.sampled_from("abc"), max_size=8), n=st.integers(1, 4))
def test_equal_runs_of_words_have_equal_hashes(words, n):
    grams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    hashes = gram_hashes(word_hashes(words), n)
    assert len(hashes) == len(grams) and len(set(hashes.tolist())) == len(set(grams))


def test_texts_without_words_do_not_break_it():
    assert near_duplicates(["", "!", "one", "one", "one two"]) == {1: 0, 3: 2}
    assert near_duplicates([]) == {}


def test_equal_texts_are_told_from_near_ones(tmp_path):
    with Texts(tmp_path / "scratch.sqlite") as store:
        for number, text in enumerate(["a b c d e f g h i j k l", "x y z", "A b, c d e f g h i j k l!", "X  Y  Z"]):
            store.add(10 * number, text)
        assert list(store.duplicates()) == [(20, 0, True), (30, 10, True)]


def test_more_equal_texts_than_are_compared_in_a_bucket_are_all_found():
    """Texts that share a band with many others, and repeat the last of these."""
    rng = random.Random(5)
    common = sentence(rng, 40)
    texts = [changed(rng, common, 9) for _ in range(duplicates.MOST_EARLIER + 40)]
    texts += texts[-20:]
    assert set(near_duplicates(texts)) >= set(range(len(texts) - 20, len(texts)))


def test_batches_do_not_show_in_the_result(monkeypatch):
    rng = random.Random(6)
    texts = [sentence(rng, 12) for _ in range(60)]
    texts += [changed(rng, rng.choice(texts), rng.randrange(2)) for _ in range(60)]
    whole = near_duplicates(texts)
    monkeypatch.setattr(duplicates, "BATCH", 7)
    assert near_duplicates(texts) == whole and len(whole) > 20


def test_questions_in_other_words_order_are_alike():
    questions = [
        "How does the boiling point of water change with height above the sea?",
        "Which gas laws describe steam in a closed boiler?",
        "Above the sea, how does the boiling point of water change with height?",
        "",
        "How does the boiling point of water change with height above sea level?",
    ]
    found = list(alike(enumerate(questions), 0.6))
    assert [(number, earlier) for number, earlier, _ in found] == [(2, 0), (4, 0)]
    assert all(0.6 <= cosine <= 1 + 1e-6 for _, _, cosine in found)
    assert list(alike([], 0.8)) == []
