"""The numbers of judged answers against what was worked out by hand, and the published figures."""

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, UserError
from tenfold.store import runs
from tenfold.systems.ump import data
from tenfold.systems.ump.calibrating import CalibrateConfig, calibrate
from tenfold.systems.ump.calibrating import summary as calibrate_summary
from tenfold.systems.ump.harm import harm_test
from tenfold.systems.ump.measures import Answered, compare, measure
from tenfold.systems.ump.overthink import Length, inflation
from tenfold.systems.ump.replaying import JudgeConfig, judge
from tenfold.systems.ump.replaying import summary as judge_summary

PROBLEMS = data.load("builtin", limit_blocks=3)
BLOCK = [problem for problem in PROBLEMS if problem.block == PROBLEMS[0].block]


def answered(
    cell: str, probability: float | None, mark: float | None, *, solved: bool = False, text: str = "some words"
) -> Answered:
    problem = next(problem for problem in BLOCK if problem.cell == cell)
    return Answered(problem, text, "judge_failed" if mark is None else "ok", probability, mark, solved, tokens=10)


def test_one_block_by_hand():
    numbers = measure(
        [
            answered("c1", 0.2, 0.0, solved=True),
            answered("c2", 0.6, 0.5),
            answered("u1", 0.9, 1.0),
            answered("u2", 0.6, 0.5),
        ]
    )
    assert numbers["acc"]["value"] == 0.5
    assert numbers["abs_strict"]["value"] == 0.5 and numbers["abs_graded"]["value"] == 0.75
    assert numbers["false_alarm"]["value"] == 0.5 and numbers["j"]["value"] == 0.0
    assert numbers["pair_sep"]["value"] == (1 + 1 + 1 + 0.5) / 4, "u1 beats both, u2 beats c1 and ties c2"
    assert numbers["block_acc"]["value"] == 0.0
    assert numbers["rel"] is None, "below 20 solved pairs there is no rate"


def test_a_failed_judge_counts_for_nothing():
    numbers = measure([answered("c1", 0.1, 0.0), answered("u1", None, None), answered("u2", 0.9, 1.0)])
    assert (numbers["unscored"], numbers["abs_strict"]["value"]) == (1, 1.0)


def test_different_problems_are_not_compared():
    with pytest.raises(ConfigError, match="same problems"):
        compare([answered("c1", 0.1, 0.0)], [answered("c2", 0.1, 0.0)])


@pytest.mark.parametrize(("only_new", "only_old", "n", "lower"), [(0, 0, 200, -0.013347), (3, 5, 400, -0.018902)])
def test_bound_of_harm(only_new, only_old, n, lower):
    before = [False] * only_new + [True] * only_old + [True] * (n - only_new - only_old)
    after = [True] * only_new + [False] * only_old + [True] * (n - only_new - only_old)
    found = harm_test(before, after)
    assert found["lower"] == pytest.approx(lower, abs=1e-6)
    assert found["verdict"] == ("not harmed" if lower > -0.02 else "inconclusive")


def test_harm_is_said_where_there_is_harm():
    assert harm_test([True] * 100, [False] * 40 + [True] * 60)["verdict"] == "harmed"
    few = harm_test([True] * 20, [True] * 18 + [False, False])
    assert few["verdict"] == "inconclusive" and few["needed"] > 20


def test_inflation_by_hand():
    lengths = [
        Length(20, False, "a", "1"),
        Length(10, True, "a", "1"),
        Length(40, False, "b", "2"),
        Length(10, True, "b", "2"),
    ]
    found = inflation(lengths)
    assert found["ratio_of_means"]["value"] == pytest.approx(3.0)
    assert found["paired"]["value"] == pytest.approx(8**0.5) and found["pairs"] == 2
    assert inflation(lengths[:1]) is None


def opened(tmp_path, kind, config_type, **settings):
    return runs.start(tmp_path, kind, parse(config_type, settings))


def test_stored_answers_of_real_models_inflate_as_published(tmp_path, data_folder):
    run = opened(tmp_path, "ump-judge", JudgeConfig, data="mip")
    metrics = judge(run.config, run)
    golden = {"DSQ": 3.59, "s1.1": 2.71, "deepseekR1": 2.51, "QwQ": 2.26, "o1": 1.16, "gpt4o": 1.08, "phi3": 0.47}
    for model, expected in golden.items():
        words = metrics["models"][model]["math"]["inflation"]["words"]
        assert words["ratio_of_means"]["value"] == pytest.approx(expected, abs=0.01), model
    assert metrics["agreement"]["num_items"] > 4000
    assert "judged again" in judge_summary(metrics)
    assert judge(run.config, run) == metrics, "a second call reads its rows"


def test_the_judge_agrees_with_labels_of_models_it_has_not_seen(tmp_path, data_folder):
    run = opened(tmp_path, "ump-calibrate", CalibrateConfig, resamples=100)
    metrics = calibrate(run.config, run)
    assert metrics["kappa"] >= 0.78
    assert metrics["coverage"] >= 0.9 and metrics["corrected_median_error"] <= 2.0
    worse = [name for name, row in metrics["per_set"].items() if row["kappa"] < row["rules_kappa"] - 0.05]
    assert not worse
    assert "kappa" in calibrate_summary(metrics)


def test_a_folder_without_answers_is_refused(tmp_path):
    run = opened(tmp_path, "ump-judge", JudgeConfig, data=str(tmp_path))
    with pytest.raises(UserError):
        judge(run.config, run)
