"""MinHash estimates the Jaccard index; near duplicates equal a search over all pairs."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tenfold.systems.glan.duplicates import NUM_HASHES, jaccard, near_duplicates, signatures
from tenfold.systems.glan.grams import gram_hashes, shingles, word_hashes

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
        one, two = signatures([first, second])
        true = jaccard(shingles(first, 3), shingles(second, 3))
        assert abs(np.mean(one == two) - true) < 4 * (true * (1 - true) / NUM_HASHES) ** 0.5


def test_signature_does_not_depend_on_the_batch():
    rng = random.Random(2)
    texts = [sentence(rng, rng.randrange(0, 9)) for _ in range(1100)]
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
