"""Bands equal a search over all pairs of ends; a calibrated cascade keeps its target; groups are left out for real."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from tenfold.core.errors import ConfigError
from tenfold.evals.judges.cascade import Cascade, Computed
from tenfold.evals.judges.judgement import ALWAYS_PASSES, NEVER_PASSES, Band, is_positive
from tenfold.evals.judges.left_out import agreement_by_group, leave_one_out
from tenfold.evals.judges.record import Agreement, CalibrationRecord, calibrate, choose_band

ITEMS = st.lists(st.tuples(st.sampled_from([i / 20 for i in range(21)]), st.booleans()), min_size=1, max_size=25)


def settled(band, items):
    return [(is_positive(p), label) for p, label in items if not band.holds(p)]


def share_right(pairs):
    return sum(judged == label for judged, label in pairs) / len(pairs)


@given(ITEMS, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_band_is_the_best_of_all_pairs(items, target):
    band = choose_band([p for p, _ in items], [label for _, label in items], target=target, least_settled=3)
    chosen = settled(band, items)
    if band != ALWAYS_PASSES:
        assert len(chosen) >= 3 and share_right(chosen) >= target
    lows, highs = [i / 20 for i in range(11)], [i / 20 for i in range(10, 21)]
    sizes = [
        len(pairs)
        for low in lows
        for high in highs
        if len(pairs := settled(Band(low, high), items)) >= 3 and share_right(pairs) >= target
    ]
    assert len(chosen) == max(sizes, default=0)


def test_many_values_are_thinned_without_breaking_the_target():
    probabilities = [i / 5000 for i in range(5000)]
    labels = [p > 0.5 if abs(p - 0.5) > 0.2 else i % 2 == 0 for i, p in enumerate(probabilities)]
    band = choose_band(probabilities, labels, target=0.95)
    chosen = settled(band, list(zip(probabilities, labels, strict=True)))
    assert share_right(chosen) >= 0.95
    assert 0.64 < len(chosen) / 5000 < 0.68  # of 3,000 clear items and as many unclear ones as 5 % errors allow


def test_agreement_counts():
    judged, labels = [True, True, False, False, True], [True, False, False, True, True]
    agreement = Agreement.of(judged, labels)
    assert (agreement.true_positives, agreement.false_positives) == (2, 1)
    assert (agreement.false_negatives, agreement.true_negatives) == (1, 1)
    assert agreement.accuracy == 0.6
    assert agreement.kappa == pytest.approx(cohen_kappa_score(judged, labels))
    assert (agreement.sensitivity, agreement.specificity) == (2 / 3, 1 / 2)
    assert Agreement.of([], []).accuracy is None


def test_record_follows_the_cascade_and_is_kept_as_json():
    rules = [0.01] * 30 + [0.5] * 30 + [0.99] * 30 + [None] * 10
    linear = [0.5] * 30 + [0.9] * 30 + [0.5] * 30 + [0.2] * 10
    labels = [False] * 30 + [True] * 28 + [False] * 2 + [True] * 30 + [False] * 10
    record = calibrate({"rules": rules, "linear": linear}, labels, target=0.99)
    assert [(stage.stage, stage.reached, stage.settled.num_items) for stage in record.stages] == [
        ("rules", 100, 60),
        ("linear", 40, 40),
    ]
    assert record.stages[0].agreement.num_items == 90
    assert record.bands["linear"] == NEVER_PASSES
    assert record.agreement.accuracy == pytest.approx(0.98)
    assert CalibrationRecord.model_validate_json(record.model_dump_json()) == record
    stages = [Computed("rules", rules.__getitem__), Computed("linear", linear.__getitem__)]
    cascade = Cascade(stages, record.bands)
    judged = asyncio.run(cascade.judge_all({str(i): i for i in range(100)}))
    assert Agreement.of([judgement.label for judgement in judged.values()], labels) == record.agreement


def test_group_left_out_is_not_seen():
    groups = ["a", "b", "a", "c", "b"]
    seen = []

    def fit(places):
        return {groups[place] for place in places}

    def apply(fitted, places):
        seen.append((sorted(fitted), sorted({groups[place] for place in places})))
        return [place / 10 for place in places]

    assert leave_one_out(groups, fit, apply) == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert seen == [(["b", "c"], ["a"]), (["a", "c"], ["b"]), (["a", "b"], ["c"])]
    table = agreement_by_group(groups, [0.9, 0.1, 0.2, 0.9, 0.1], [True, False, True, True, True])
    assert {group: agreement.accuracy for group, agreement in table.items()} == {"a": 0.5, "b": 0.5, "c": 1.0}
    with pytest.raises(ConfigError, match="needs at least two"):
        leave_one_out(["a", "a"], fit, apply)


@pytest.mark.parametrize("stages", [{}, {"rules": [0.1, 0.2], "linear": [0.1]}])
def test_every_stage_needs_an_entry_per_label(stages):
    with pytest.raises(ConfigError, match="one entry per label"):
        calibrate(stages, [True, False], target=0.9)
