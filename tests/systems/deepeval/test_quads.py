"""Quads: a partition, equal prompts in a block, exactly 25 % for whoever does not look, equal bytes, costs as defined."""

import random
from collections import Counter
from fractions import Fraction
from itertools import combinations, permutations
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.errors import UserError
from tenfold.systems.deepeval import quads
from tenfold.systems.deepeval.items import Annotation, Item, read_items, write_jsonl
from tenfold.systems.deepeval.likeness import FUNCTION_WORDS, WORD, Weights, cosine_matrix, distractor_cosines

WORDS = [
    "bird",
    "Bird",
    "bird's",
    "tree",
    "the",
    "a man",
    "runs",
    "sleeps",
    "house",
    "red",
    "sea",
    "of",
    "boat",
    "night",
    "sun",
]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=4, max_size=40)


def annotated(texts: list[str]) -> list[Annotation]:
    return [Annotation(f"p{number}", text, text, text) for number, text in enumerate(texts)]


def built(texts: list[str], **settings: int) -> quads.QuadSet | None:
    """The quads of these texts, or None where they make no block."""
    try:
        return quads.build_quads(annotated(texts), "title", num_proposals=settings.pop("num_proposals", 500), **settings)
    except UserError:
        return None


@given(texts=TEXTS, seed=st.integers(0, 3))
def test_quads_are_a_partition_with_one_gold_for_each_letter(texts: list[str], seed: int) -> None:
    found = built(texts, seed=seed)
    if found is None:
        return
    assert sorted([item.image_id for item in found.items] + list(found.left_out)) == sorted(
        f"p{n}" for n in range(len(texts))
    )
    blocks: dict[str | None, list[Item]] = {}
    for item in found.items:
        blocks.setdefault(item.block, []).append(item)
        assert item.answer == quads.collapse(texts[int(item.image_id[1:])])
    for block in blocks.values():
        assert len({item.options for item in block}) == 1
        assert [item.gold for item in block] == [0, 1, 2, 3]
        assert len({option.casefold() for option in block[0].options}) == 4


@given(count=st.integers(4, 23))
def test_only_the_remainder_is_left_out(count: int) -> None:
    found = built([f"word{number}" for number in range(count)])
    assert found is not None
    assert (found.num_blocks, len(found.left_out)) == (count // 4, count % 4)


@given(texts=TEXTS.filter(lambda texts: len(texts) >= 8), place=st.integers(0, 10**6))
def test_swaps_only_ever_lower_the_summed_cost(texts: list[str], place: int) -> None:
    costs = quads.cost_matrix(texts, cosine_matrix(texts))

    def total(found: quads.Partition) -> int:
        return sum(int(costs[i, j]) for block in found.blocks for i, j in combinations(block, 2))

    totals = [
        total(quads.partition(costs, np.random.RandomState(place), num_proposals=number)) for number in (0, 5, 50, 500)
    ]
    assert totals[1:] and all(later <= totals[0] for later in totals[1:])


def test_incremental_swaps_equal_slow_ones() -> None:
    """The slow way: try each proposal, sum the cost of everything anew, keep it if it fell."""
    generator = random.Random(5)
    texts = [" ".join(generator.choices(WORDS, k=4)) for _ in range(24)]
    costs = quads.cost_matrix(texts, cosine_matrix(texts)).tolist()
    blocks = [list(range(start, start + 4)) for start in range(0, 24, 4)]
    proposals = quads._proposals(6, np.random.RandomState(1), 300)
    fast = [list(block) for block in blocks]
    quads._improve(fast, costs, proposals)
    for first, second, place, other in proposals:
        before = total_cost(blocks, costs)
        blocks[first][place], blocks[second][other] = blocks[second][other], blocks[first][place]
        if total_cost(blocks, costs) >= before:
            blocks[first][place], blocks[second][other] = blocks[second][other], blocks[first][place]
    assert fast == blocks


def total_cost(blocks: list[list[int]], costs: list[list[int]]) -> int:
    return sum(costs[i][j] for block in blocks for i, j in combinations(block, 2))


@given(texts=TEXTS)
def test_costs_equal_the_dense_definition(texts: list[str]) -> None:
    fast, n = quads.cost_matrix(texts, cosine_matrix(texts)), len(texts)
    bags = [Counter(word for word in WORD.findall(text.lower()) if word not in FUNCTION_WORDS) for text in texts]
    vocabulary = sorted(set().union(*bags))
    holding = {word: sum(word in bag for bag in bags) for word in vocabulary}
    dense = np.array(
        [[(1 + log(bag[w])) * log((n + 1) / (holding[w] + 0.5)) if bag[w] else 0.0 for w in vocabulary] for bag in bags]
    ).reshape(n, len(vocabulary))
    lengths = [len(WORD.findall(text.lower())) for text in texts]
    for i, j in permutations(range(n), 2):
        norms = float(np.linalg.norm(dense[i]) * np.linalg.norm(dense[j]))
        cosine = float(dense[i] @ dense[j]) / norms if norms else 0.0
        if abs(cosine - quads.MOST_ALIKE) < 1e-9:
            continue
        expected = (
            1e6
            if texts[i].lower() == texts[j].lower()
            else 50
            if cosine > 0.6
            else -2 * cosine + 0.8 * abs(log(1 + lengths[i]) - log(1 + lengths[j]))
        )
        assert fast[i, j] * quads.UNIT == pytest.approx(expected, abs=3e-9)


def test_two_hundred_blind_scorers_score_exactly_a_quarter() -> None:
    """Any deterministic function of the prompt, also with the options rotated in the same way for all four pictures."""
    generator = random.Random(0)
    texts = [" ".join(generator.choices(WORDS, k=5)) + f" {chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(23)]
    found = built(texts)
    assert found is not None and found.num_blocks == 5
    for scorer in range(200):
        for turn in range(4):
            points = [blind_point(item, scorer, turn) for item in found.items]
            assert sum(points, Fraction(0)) / len(points) == Fraction(1, 4)


def blind_point(item: Item, scorer: int, turn: int) -> Fraction:
    shown = item.options[turn:] + item.options[:turn]
    scores = [random.Random(f"{scorer}/{shown}/{option}").randrange(5) for option in shown]
    winners = [option for option, score in zip(shown, scores, strict=True) if score == max(scores)]
    return Fraction(item.answer in winners, len(winners))


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path: Path) -> None:
    texts = [f"a {WORDS[n % 15]} and {WORDS[(3 * n) % 15]} number {chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(50)]
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        found = built(texts, seed=seed)
        assert found is not None
        write_jsonl(tmp_path / name, found.items)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() != (tmp_path / "three").read_bytes()
    assert len(read_items(tmp_path / "one")) == 48


def test_equal_texts_never_meet_and_too_few_are_refused() -> None:
    found = built(
        ["same words", "Same  words", "other things", "third sort", "fourth kind", "fifth way", "sixth day", "last one"]
    )
    assert found is not None and all(len({o.casefold() for o in item.options}) == 4 for item in found.items)
    with pytest.raises(UserError, match="make no block of four different ones"):
        quads.build_quads(annotated(["a", "a", "a", "b"]), "title")


def test_white_space_cannot_give_an_answer_away() -> None:
    found = built([" one\tline ", "two  lines\n", "three lines", "four lines"])
    assert found is not None and sorted(found.items[0].options) == ["four lines", "one line", "three lines", "two lines"]


def test_the_mean_cosine_is_that_of_gold_and_distractors() -> None:
    texts = ["red boat", "red sea", "night sea", "red house", "blue boat", "blue house", "old man", "old tree"]
    found = built(texts)
    assert found is not None
    cosines = distractor_cosines(Weights.of(texts), [(item.options, item.gold) for item in found.items])
    assert found.mean_cosine == pytest.approx(np.mean(cosines)) and found.max_cosine == pytest.approx(max(cosines))
    assert Weights.of(texts).cosine("red boat", "red boat") == pytest.approx(1.0)
