"""The Spec-Bench page: what it says follows from rows and metrics, and what was not measured is not said."""

from typing import Any

import pytest

from tenfold.core.records import ColouredText, Figure, Page, Table
from tenfold.systems.specdec.labels import METHODS
from tenfold.systems.specdec.page import build

SECONDS = {"tenfold": 1.0, "transformers": 4.0, "transformers-pld": 2.5, "greedy": 1.6}


def a_row(number: int, task: str = "mt_bench", **changes: Any) -> dict[str, Any]:
    methods = {name: {"seconds": seconds, "new_tokens": 64, "text": "same"} for name, seconds in SECONDS.items()}
    spans = [["x" * (10 - number), "target"], ["y" * number, "ngram-3"]]
    return {"key": str(number), "subtask": task, "methods": methods, "identical": True, "spans": spans} | changes


def speedups(factor: float) -> dict[str, Any]:
    values = {"speedup_vs_transformers": 4.1, "speedup_vs_transformers_pld": 2.4, "speedup_vs_greedy": 1.6}
    return {key: value * factor for key, value in values.items()} | {
        "speedup_vs_transformers_ci": [3.8 * factor, 4.4 * factor]
    }


ROWS = [a_row(number, "qa" if number > 2 else "mt_bench") for number in range(1, 6)]
METRICS = speedups(1.0) | {
    "model": "smollm2",
    "drafter": "ngram",
    "data": "specbench",
    "mean_accepted_tokens": 1.7,
    "acceptance_by_position": [0.7, 0.6],
    "per_task": {
        task: speedups(factor) | {"mean_accepted_tokens": 1.7} for task, factor in (("mt_bench", 0.9), ("qa", 1.1))
    },
    "contention": 0.02,
    "exactness": "bit",
    "tokens_per_second": {"tenfold": 60.1},
    "threads": 2,
}


def without(metrics: dict[str, Any], *words: str) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if not any(word in key for word in words)}


def exhibits(page: Page, kind: type) -> list[Any]:
    return [exhibit for exhibit in page.exhibits if isinstance(exhibit, kind)]


def test_the_verdict_says_how_fast_and_that_nothing_changed():
    assert (
        build(ROWS, METRICS).verdict
        == "smollm2 answered 5 prompts 4.1 times as fast as Transformers, and not one token changed."
    )


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        ([*ROWS[1:], a_row(9, identical=False)], {}, "; but 1 text came out different from plain decoding."),
        (ROWS, {"contention": 0.16}, "so busy with other programs that the times prove nothing"),
        (ROWS, {"speedup_vs_transformers": 0.8}, "at only 0.80 times the speed of Transformers"),
        ([*ROWS, {"key": "7", "failure": "too long"}], {}, "answered 5 of 6 prompts"),
        ([], {}, "No prompt was answered"),
        ([{"key": "7", "failure": "too long"}], {}, "No prompt was answered"),
    ],
)
def test_the_verdict_hides_nothing(rows, changes, words):
    assert words in build(rows, METRICS | changes).verdict


def test_a_changed_text_is_called_a_fault_and_not_excused():
    story = " ".join(build([*ROWS, a_row(9, identical=False)], METRICS).story)
    assert "5 of 6 agree" in story and "do not rely on the speed-up" in story
    assert "not one token changed" not in story and "by construction" not in story


def test_only_the_bit_exact_mode_is_called_exact_by_construction():
    assert "by construction" in " ".join(build(ROWS, METRICS).story)
    assert "by construction" not in " ".join(build(ROWS, METRICS | {"exactness": "token"}).story)


def test_the_next_baseline_takes_the_place_of_a_missing_one():
    metrics = {key: value for key, value in METRICS.items() if not key.startswith("speedup_vs_transformers")}
    assert "1.6 times as fast as Tenfold without guessing" in build(ROWS, metrics).verdict


def test_without_baselines_there_is_no_word_of_speed_up():
    rows = [row | {"methods": {"tenfold": row["methods"]["tenfold"]}} for row in ROWS]
    page = build(rows, without(METRICS, "speedup", "per_task"))
    assert "no baseline to compare with" in page.verdict
    assert not any("Speed-up" in fact for fact in page.facts)
    assert [figure.title for figure in exhibits(page, Figure)] == ["How long a prompt takes", "How often a guess is right"]


def test_the_smallest_metrics_are_enough():
    rows = [row | {"spans": []} for row in ROWS]
    page = build(rows, {"model": "m"})
    assert [type(exhibit) for exhibit in page.exhibits] == [Figure]
    assert page.facts == {"Texts identical to plain decoding": "5 of 5"}


def test_the_facts_are_formatted():
    facts = build(ROWS, METRICS).facts
    assert facts["Speed-up over Transformers"] == "4.1× (3.8–4.4)"
    assert facts["Speed-up over Tenfold without guessing"] == "1.6×"
    assert facts["Texts identical to plain decoding"] == "5 of 5"
    assert facts["Machine taken by other programs"] == "2%"


def test_the_bars_are_the_means_of_the_dots():
    bar, dots = exhibits(build([*ROWS, a_row(6, methods={"tenfold": {"seconds": 4.0}})], METRICS), Figure)[0].plotly["data"][
        :2
    ]
    assert bar["y"] == ["Conversation", "Question answering"]
    assert bar["x"] == [pytest.approx(2.0), pytest.approx(1.0)]
    assert len(dots["x"]) == 6


def test_intervals_reach_from_low_to_high():
    marks = exhibits(build(ROWS, METRICS), Figure)[1].plotly["data"][0]
    low, high = marks["x"][-1] - marks["error_x"]["arrayminus"][-1], marks["x"][-1] + marks["error_x"]["array"][-1]
    assert marks["y"] == ["Conversation", "Question answering", "All tasks"]
    assert (low, high) == (pytest.approx(3.8), pytest.approx(4.4))


def test_an_interval_from_a_single_prompt_is_not_shown():
    page = build(ROWS[:1], METRICS | {"speedup_vs_transformers_ci": [4.1, 4.1]})
    assert page.facts["Speed-up over Transformers"] == "4.1×"
    assert "confidence interval" not in " ".join(page.story)


def test_the_text_shown_is_the_median_and_not_the_best():
    text = exhibits(build(ROWS, METRICS), ColouredText)[0]
    assert "Prompt 3 " in text.caption
    assert [(span.text, span.source) for span in text.spans] == [("xxxxxxx", "model"), ("yyy", "ngram drafter")]
    assert list(text.legend) == ["model", "ngram drafter"]


def test_the_table_has_a_row_per_task_and_a_dash_for_what_is_missing():
    tasks = METRICS["per_task"]
    table = exhibits(build(ROWS, METRICS | {"per_task": {"qa": tasks["qa"], "mt_bench": {}}}), Table)[0]
    assert table.rows[0] == ["Question answering", "3", "4.5× (4.2–4.8)", "2.6×", "1.8×", "1.70", "3 of 3"]
    assert table.rows[1] == ["Conversation", "2", "–", "–", "–", "–", "2 of 2"]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_each_method_looks_its_own_way():
    assert len({(look.colour, look.symbol) for look in METHODS.values()}) == len(METHODS)
