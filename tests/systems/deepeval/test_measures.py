"""Numbers by hand on small answers; the 25 % law on random blind answerers; coverage of the intervals."""

import random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.errors import ApparatusError
from tenfold.evals.permute import rotations
from tenfold.evals.statistics import cluster_mean
from tenfold.systems.deepeval import comparisons, measures


def reading(pick: int | None, *, state: str = "none", prompt: int = 1, shift: int = 0) -> dict:
    """A reading; `state` is that of one without a pick."""
    shown = None if pick is None else (pick - shift) % 4
    return {"prompt": prompt, "state": state if pick is None else "ok", "pick": pick, "shown": shown}


def row(item: int, readings: list[dict], *, arm: str = "image", task: str = "title", model: str = "m", facets=()) -> dict:
    return {
        "model": model, "task": task, "arm": arm, "item": f"{task}-{item}", "image_id": f"img{item}",
        "block": f"{task}-{item // 4:03d}", "gold": item % 4, "facets": list(facets), "readings": readings,
    }  # fmt: skip


def rows(picks: list[int | None], **of) -> list[dict]:
    return [row(item, [reading(pick)], **of) for item, pick in enumerate(picks)]


def test_numbers_by_hand():
    found = measures.describe(rows([0, 1, 2, 3, 0, 0, None, 3]), "off")
    assert found["accuracy"] == 6 / 8
    assert found["block_accuracy"] == 0.5
    assert found["states"] == {"none": 1, "ok": 7}
    assert found["format_failures"] == pytest.approx(1 / 8)
    assert found["accuracy_parsed"] == 6 / 7
    assert found["letters"] == {"A": 3, "B": 1, "C": 1, "D": 2}
    assert found["prompt_sd"] is None


def test_what_the_apparatus_spoiled_counts_neither_way():
    lost = rows([0, 1, 2, 3])
    lost[3]["readings"] = [reading(None, state="letter_unranked")]
    found = measures.describe(lost, "off")
    assert (found["n"], found["unscored"], found["accuracy"], found["block_accuracy"]) == (3, 1, 1.0, None)


def test_prompts_are_averaged_and_their_spread_is_given():
    two = [row(item, [reading(item % 4, prompt=1), reading(0, prompt=2)]) for item in range(8)]
    found = measures.describe(two, "off")
    assert found["accuracy_by_prompt"] == {"1": 1.0, "2": 0.25}
    assert found["accuracy"] == 0.625
    assert found["prompt_sd"] == pytest.approx(0.75 / 2**0.5)


def test_rotations_count_in_three_ways():
    picks = [0, 0, 0, 2]
    readings = [reading(pick, shift=shift) for shift, pick in enumerate(picks)]
    only = row(0, readings)
    assert [measures.score(only, kind) for kind in ("mean", "strict", "vote")] == [0.75, 0.0, 1.0]
    assert measures.describe([only], "strict")["circular"] == {"mean": 0.75, "strict": 0.0, "vote": 1.0}
    readings[0]["state"] = "apparatus"
    assert measures.score(only, "strict") is None


@given(st.integers(0, 2**32), st.sampled_from(["off", "mean"]))
def test_any_blind_answerer_scores_exactly_a_quarter(seed, circular):
    """One pick for each block, prompt and order of options, whatever it is."""
    generator = random.Random(seed)
    orders = rotations(4) if circular == "mean" else rotations(4)[:1]
    rule = {(block, prompt, order): generator.randrange(4) for block in range(5) for prompt in (1, 2, 3) for order in orders}
    answers = [
        row(
            item, [reading(order[rule[item // 4, prompt, order]], prompt=prompt) for prompt in (1, 2, 3) for order in orders]
        )
        for item in range(20)
    ]
    assert fmean(measures.scores(answers, circular).values()) == pytest.approx(0.25, abs=1e-12)
    assert measures.check_blind(answers) == 5 * 3 * len(orders)
    assert measures.block_accuracy(answers, circular) == 0


def test_two_hundred_scorers_of_text_score_exactly_a_quarter():
    """Whatever weights a rule gives to the letters of a text, it takes the same option for all four pictures."""
    texts = [
        ["".join(random.Random(f"{block}-{place}").choices("abcdef ", k=20)) for place in range(4)] for block in range(6)
    ]
    for seed in range(200):
        weight = dict(zip("abcdef ", np.random.default_rng(seed).normal(size=7), strict=True))
        scores = [[sum(weight[character] for character in text) for text in block] for block in texts]
        answers = rows([scores[item // 4].index(max(scores[item // 4])) for item in range(24)])
        assert fmean(measures.scores(answers, "off").values()) == 0.25
        measures.check_blind(answers)


def test_a_block_that_was_told_apart_is_an_error():
    with pytest.raises(ApparatusError, match="other than 25 %"):
        measures.check_blind(rows([0, 0, 0, 1]))


def test_a_block_whose_key_is_not_that_of_a_quad_is_an_error():
    wrong = rows([0, 0, 0, 0])
    wrong[1]["gold"] = 0
    with pytest.raises(ApparatusError, match="not those of a quad"):
        measures.check_blind(wrong)


def test_unreadable_but_equal_answers_pass_the_check():
    assert measures.check_blind(rows([None] * 4)) == 1


def test_gains_are_paired_by_question():
    seen, unseen = rows([0, 1, 2, 3] * 5, arm="image"), rows([0] * 20, arm="none")
    found = comparisons.gains(measures.grouped(seen + unseen), "off")
    assert [(gain["gain"], gain["difference"], gain["n"]) for gain in found] == [("vision", 0.75, 20)]
    assert found[0]["p"] == pytest.approx(2 / 2**5)
    assert found[0]["p_holm"] == found[0]["p"]


def test_faithfulness_is_own_over_oracle_gain():
    gains = [
        {"model": "m", "task": "title", "gain": "oracle description", "difference": 0.4},
        {"model": "m", "task": "title", "gain": "own description", "difference": 0.1},
    ]
    assert comparisons.faithfulness(gains)[0]["faithfulness"] == pytest.approx(0.25)
    assert not comparisons.faithfulness(gains[1:])


def test_hierarchy_by_hand():
    titles = rows([0, 1, 2, 0, 1, 1, 1, 1], task="title")
    meanings = rows([0, 1, 3, 3, 3, 3, 3, 3], task="meaning")
    (found,) = comparisons.hierarchy(measures.grouped(titles + meanings), "off")
    assert (found["given"], found["then"], found["n"]) == ("title", "meaning", 8)
    assert found["if_right"]["accuracy"] == pytest.approx(2 / 4)
    assert found["if_wrong"]["accuracy"] == pytest.approx(2 / 4)


def test_single_questions_get_mcnemar_and_blocks_sign_flips():
    alone = [f"q{place}" for place in range(6)]
    assert comparisons.p_value([1.0] * 6, alone) == pytest.approx(2 / 2**6)
    assert comparisons.p_value([1.0] * 6, ["b"] * 3 + ["c"] * 3) == pytest.approx(2 / 2**2)


def test_facets_below_twenty_have_no_number():
    answers = [
        row(item, [reading(item % 4 if item < 40 else 0)], facets=["bright"] if item < 40 else ["rare"] if item < 45 else [])
        for item in range(80)
    ]
    bright, rare = comparisons.facets(answers, "off")
    assert bright["accuracy"] == 1.0
    assert bright["against_rest"] == pytest.approx(0.75)
    assert bright["p_holm"] < 0.05
    assert rare == {"facet": "rare", "n": 5}


def test_letter_bias():
    assert measures.letter_bias([25, 25, 25, 25]) == 1.0
    assert (measures.letter_bias([100, 0, 0, 0]) or 0) < 1e-20
    assert measures.letter_bias([0, 0, 0, 0]) is None


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_intervals_over_blocks_cover_as_they_say(correlation):
    """Blocks of four with a shared tendency: the 95 % interval holds the true mean in 93 to 97 % of data sets."""
    generator = np.random.default_rng(7)
    clusters = [f"b{item // 4}" for item in range(800)]
    held, trials = 0, 600
    for _ in range(trials):
        shared = generator.random((200, 1)) < correlation
        hits = np.where(shared, generator.random((200, 1)) < 0.5, generator.random((200, 4)) < 0.5).ravel()
        estimate = cluster_mean(hits.astype(float), clusters, draws=500, seed=1)
        held += estimate.low <= 0.5 <= estimate.high
    assert 0.925 <= held / trials <= 0.975
