"""Metrics from rows whose right answers are known."""

import pytest

from tenfold.core.errors import UserError
from tenfold.systems.specdec.comparison import metrics, ratios


def record(seconds, tokens=10, prefill=0.0):
    times = {"seconds": seconds, "prefill_seconds": prefill, "decode_seconds": seconds - prefill}
    return times | {"new_tokens": tokens, "rounds": 3, "mean_accepted_tokens": 2.0}


def row(task, ours, plain, *, lookup=None, lookup3=None, identical=True, rounds=((2, 1, 2),)):
    methods = {"tenfold": ours, "greedy": plain}
    methods |= {name: value for name, value in (("transformers-pld", lookup), ("transformers-pld3", lookup3)) if value}
    return {
        "subtask": task,
        "methods": methods,
        "identical": identical,
        "divergence": dict.fromkeys(methods),
        "rounds": [list(step) for step in rounds],
        "exactness": "bit",
        "contention": 0.0,
    }


def test_speedup_is_the_geometric_mean_of_paired_ratios():
    rows = [row("qa", record(1.0), record(2.0)), row("qa", record(1.0), record(8.0))]
    assert metrics(rows)["speedup_vs_greedy"] == pytest.approx(4.0)


def test_unequal_lengths_are_compared_per_token():
    assert metrics([row("qa", record(1.0, tokens=10), record(1.0, tokens=5))])["speedup_vs_greedy"] == pytest.approx(2.0)


def test_prompts_beside_other_programs_are_counted():
    rows = [row("qa", record(1.0), record(2.0)), row("qa", record(1.0), record(8.0)) | {"contention": 0.4}]
    assert metrics(rows)["contended_prompts"] == 1


def test_decode_only_leaves_out_the_prompts_pass():
    result = metrics([row("qa", record(2.0, prefill=1.0), record(4.0, prefill=1.0))])
    assert (result["speedup_vs_greedy"], result["speedup_vs_greedy_decode"]) == pytest.approx((2.0, 3.0))


def test_prompt_lookup_is_its_better_n_gram_in_each_subtask():
    rows = [
        row("qa", record(1.0), record(1.0), lookup=record(3.0), lookup3=record(2.0)),
        row("rag", record(1.0), record(1.0), lookup=record(4.0), lookup3=record(5.0)),
    ]
    assert ratios(rows, "transformers-pld") == pytest.approx([2.0, 4.0])


def test_one_changed_text_shows():
    rows = [row("qa", record(1.0), record(1.0)), row("qa", record(1.0), record(1.0), identical=False)]
    assert metrics(rows)["identical_fraction"] == 0.5


def test_acceptance_counts_emitted_tokens_per_pass():
    result = metrics([row("qa", record(1.0), record(1.0), rounds=((3, 3, 4), (3, 0, 1), (0, 0, 1)))])
    assert result["mean_accepted_tokens"] == pytest.approx(2.0)
    assert result["acceptance_by_position"] == pytest.approx([0.5, 1.0, 1.0])
    assert result["draft_precision"] == pytest.approx(0.5)


def test_failures_are_counted_and_nothing_but_failures_is_refused():
    failure = {"failure": "too long"}
    assert metrics([row("qa", record(1.0), record(1.0)), failure])["failures"] == 1
    with pytest.raises(UserError, match="too long"):
        metrics([failure])
