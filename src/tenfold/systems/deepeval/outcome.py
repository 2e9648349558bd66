"""The metrics of a run from its answers: numbers by model, task and arm, gains, hierarchy, facets, costs, and the check.

On whole blocks every arm that is blind must have given the four questions one answer; else the apparatus is at fault
and nothing is reported (deepeval.md section 4).
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tenfold.core.records import Metrics
from tenfold.systems.deepeval import arms
from tenfold.systems.deepeval.asking import Circular
from tenfold.systems.deepeval.comparisons import between_models, difference, facets, faithfulness, gains, hierarchy
from tenfold.systems.deepeval.items import Task
from tenfold.systems.deepeval.measures import Row, check_blind, describe, grouped
from tenfold.systems.deepeval.overlap import overlap_scores
from tenfold.systems.deepeval.staging import Stage


def outcome(
    answers: Sequence[Row], circular: Circular, stages: Mapping[Task, Stage], costs: Mapping[str, Mapping[str, int]]
) -> Metrics:
    """The metrics of all answers.

    Raises:
        ApparatusError: questions of a block were told apart without picture and description.
    """
    groups = grouped(answers)
    baselines: dict[Task, dict[str, float]] = {
        task: _baseline(staged) for task, staged in stages.items() if _gives_oracle(answers)
    }
    checked = sum(check_blind(rows) for (_, _, arm), rows in groups.items() if arms.find(arm).is_blind)
    found_gains = gains(groups, circular)
    return {
        "num_questions": {task: len(staged.items) for task, staged in stages.items()},
        "num_without_picture": {task: staged.num_without_picture for task, staged in stages.items()},
        "blind_readings_checked": checked,
        "accuracy": _accuracies(results := _results(groups, circular, baselines)),
        "results": results,
        "gains": found_gains,
        "faithfulness": faithfulness(found_gains),
        "models_compared": between_models(groups, circular),
        "hierarchy": hierarchy(groups, circular),
        "facets": _facets(groups, circular),
        "cost": {model: dict(cost) for model, cost in costs.items()},
    }


def _gives_oracle(answers: Sequence[Row]) -> bool:
    return any(arms.find(arm).describe == "oracle" for arm in {row["arm"] for row in answers})


def _baseline(staged: Stage) -> dict[str, float]:
    return overlap_scores(staged.items, staged.data.annotations)


def _results(
    groups: Mapping[tuple[str, str, str], Sequence[Row]], circular: Circular, baselines: Mapping[Task, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """One line of numbers per model, task and arm; beside oracle arms also the word-overlap baseline."""
    lines = []
    for (model, task, arm), rows in groups.items():
        line = {"model": model, "task": task, "arm": arm, **describe(rows, circular)}
        baseline = baselines.get(rows[0]["task"])
        if baseline is not None and arms.find(arm).describe == "oracle":
            beaten_by = difference(rows, baseline, circular)
            line["word_overlap"] = fmean(baseline[row["item"]] for row in rows)
            line["over_word_overlap"] = beaten_by
        lines.append(line)
    return lines


def _accuracies(results: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The headline numbers under one flat key each: `model/task/arm`."""
    return {f"{line['model']}/{line['task']}/{line['arm']}": line.get("accuracy") for line in results}


def _facets(groups: Mapping[tuple[str, str, str], Sequence[Row]], circular: Circular) -> list[dict[str, Any]]:
    return [
        {"model": model, "task": task, "arm": arm, **line}
        for (model, task, arm), rows in groups.items()
        for line in facets(rows, circular)
    ]


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [_line(result) for result in metrics["results"]]
    lines += [_gain(gain) for gain in metrics["gains"]]
    if metrics["blind_readings_checked"]:
        checked = metrics["blind_readings_checked"]
        lines.append(f"blind arms: one answer for each block, so exactly 25 %, as it must be ({checked} readings of blocks)")
    return "\n".join(lines)


def _line(result: Mapping[str, Any]) -> str:
    name = f"{result['model']} {result['task']} {result['arm']}"
    if result.get("accuracy") is None:
        return f"{name:<40} unscored: the apparatus failed on all {result['unscored']} questions"
    low, high = (100 * bound for bound in result["accuracy_ci"])
    text = f"{name:<40} {100 * result['accuracy']:5.1f} %  (95 % {low:.1f} to {high:.1f}, n {result['n']})"
    if result["format_failures"]:
        text += f", {100 * result['format_failures']:.1f} % unclear answers"
    if result["unscored"]:
        text += f", {result['unscored']} unscored"
    over = result.get("over_word_overlap")
    return f"{text}; shared words alone {100 * result['word_overlap']:.1f} % (p {over['p']:.2g})" if over else text


def _gain(gain: Mapping[str, Any]) -> str:
    low, high = (100 * bound for bound in gain["difference_ci"])
    return (
        f"{gain['model']} {gain['task']}: {gain['gain']} {100 * gain['difference']:+.1f} points"
        f" (95 % {low:+.1f} to {high:+.1f}, p {gain['p_holm']:.2g})"
    )
