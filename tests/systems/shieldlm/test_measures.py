"""The measures on rows whose answers are known, and the summary of every part."""

import numpy as np
import pytest

from tenfold.core.config import parse
from tenfold.systems.shieldlm import measures, rule_measures, stream_measures, summaries
from tenfold.systems.shieldlm.calibrator import Calibrator

PLAIN = parse(Calibrator, {})
SAFE = {"safe": -0.1, "unsafe": -3.0, "controversial": -9.0}
UNSAFE = {"safe": -3.0, "unsafe": -0.1, "controversial": -9.0}


def flip_rows(item, unsafe, said):
    wanted = {"none": unsafe, "loose": False, "strict": unsafe, "other": unsafe}
    return [
        {
            "item": item,
            "condition": condition,
            "wanted": "unsafe" if wanted[condition] else "safe",
            "unsafe": unsafe,
            "logps": UNSAFE if flag else SAFE,
        }
        for condition, flag in said.items()
    ]


def test_rule_gain_and_flip_accuracy_are_what_they_say():
    follows = {"none": True, "loose": False, "strict": True, "other": True}
    stubborn = {"none": True, "loose": True, "strict": True, "other": True}
    quiet = {"none": False, "loose": False, "strict": False, "other": False}
    found = rule_measures.flips(flip_rows("a", True, follows), PLAIN)
    assert (found["flip_accuracy"], found["rule_gain"]) == (1.0, 0.5)  # loose: wrong before, right now
    rows = [*flip_rows("a", True, follows), *flip_rows("b", True, stubborn), *flip_rows("c", False, quiet)]
    found = rule_measures.flips(rows, PLAIN)
    assert found["flip_accuracy"] == 0.5 and found["flip_items"] == 2
    assert found["rule_gain"] == pytest.approx(1 / 6)
    assert found["accuracy_under_loose"] == pytest.approx(2 / 3)


def test_irrelevant_rules_and_injections_are_counted():
    steady = {"added": dict.fromkeys(("0", "1", "3", "5", "10"), SAFE), "permuted": SAFE}
    moved = {"added": {**steady["added"], "10": UNSAFE}, "permuted": SAFE}
    found = rule_measures.irrelevant([steady, moved], PLAIN)
    assert found["irrelevant_flips"] == {"1": 0.0, "3": 0.0, "5": 0.0, "10": 0.5} and found["permutation_flips"] == 0.5
    rows = [{"logps": UNSAFE, "injected": [UNSAFE, SAFE]}, {"logps": SAFE, "injected": [SAFE, SAFE]}]
    assert rule_measures.injection(rows, PLAIN) == {"injection_tries": 2, "injection_flips": 1}


def test_streams_report_delay_and_cost():
    def row(onset, stopped_at, tripped):
        return {
            "onset": onset,
            "stopped_at": stopped_at,
            "tripped": tripped,
            "tokens": 100,
            "forwarded": 115,
            "leaked": 0,
            "difference": 0.0,
        }

    rows = [row(50, 70, True), row(50, 40, True), row(50, 100, False), row(None, 30, False)]
    found = stream_measures.streams(rows, PLAIN)
    assert (found["streams_stopped"], found["streams_stopped_early"], found["stream_delay_median"]) == (1, 1, 20)
    assert found["stream_ratio"] == pytest.approx(1.15) and found["stream_false_alarms"] == 0


def test_a_perfect_and_a_useless_detector():
    unsafe = np.array([True, False] * 300)
    groups = [f"g{n // 2}" for n in range(600)]
    found = measures.agreement(unsafe, unsafe, groups)
    assert {name: estimate.value for name, estimate in found.items()} == {"accuracy": 1, "f1_safe": 1, "f1_unsafe": 1}
    assert measures.macro_f1(np.ones(600, bool), unsafe) == pytest.approx(1 / 3)
    scores = np.where(unsafe, 0.9, 0.1)
    report = measures.calibration(scores, unsafe, groups)
    assert report["ece"] == pytest.approx(0.1, abs=0.01) and report["auprc"] == 1  # the middle bin holds both kinds
    assert len(report["reliability"]) == 10
    held = measures.held_out_calibration(scores, unsafe, groups)
    assert held["ece_calibrated"] < 0.02 and held["fpr_at_0.01"] == 0
    assert measures.held_out_calibration(scores[:40], unsafe[:40], groups[:40])["fpr_at_0.01"] is None


def test_halves_split_no_group():
    groups = [f"g{n // 3}" for n in range(300)]
    half = measures.half_of_clusters(groups, 0)
    assert 140 <= half.sum() <= 160
    assert all(len({bool(half[at]) for at in range(n, n + 3)}) == 1 for n in range(0, 300, 3))


def test_sets_of_one_class_have_measures_too():
    safe, groups = np.zeros(40, bool), [f"g{n}" for n in range(40)]
    found = measures.agreement(safe, safe, groups)
    assert (found["accuracy"].value, found["f1_safe"].value, found["f1_unsafe"].value) == (1, 1, 0)
    assert measures.calibration(np.full(40, 0.1), safe, groups)["auprc"] is None
    assert measures.held_out_calibration(np.full(40, 0.1), safe, groups)["ece_calibrated"] < 0.1


def test_a_summary_of_nothing_is_empty():
    assert summaries.evaluation({}) == ""
