"""A run, or runs side by side, as a page of the report: rows and metrics come in; words, figures and tables go out.

Only what was measured is said. The order follows a reader's questions: is it above chance, does the picture matter, does a
description help, does the model beat shared words, and what do single questions look like.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Metrics, Page
from tenfold.systems.deepeval.charts import accuracies, gains_figure, pictures
from tenfold.systems.deepeval.tables import (
    comparisons_table,
    facets_table,
    hierarchy_table,
    percent,
    questions_table,
    results_table,
    states_table,
)

Row = Mapping[str, Any]
TITLE = "See: deep semantics of images"
CHANCE = 0.25
BARE_TEXT = {
    "both": "The model's answer is the text that goes with the description best, in both directions: how much the"
    " description raises the text's probability, and how likely the description is after the text.",
    "channel": "The model's answer is the text after which it finds the description likeliest.",
    "pmi": "The model's answer is the text whose probability the description raises most.",
    "per-token": "The model's answer is the text with the likeliest words, on average, after the description.",
    "sum": "The model's answer is the text that it finds likeliest after the description.",
}
WITH_LETTERS = {
    "letter": "The model's answer is the letter with the highest probability after an answer that has begun.",
    "generate": "The model wrote its answer, and a parser read the letter; where an answer names two options or none, the"
    " parser does not guess.",
}


def build(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run; `rows` are those of results.jsonl."""
    results = scored(metrics)
    if not results:
        return Page(TITLE, "No answer could be scored, so there is nothing to say about understanding.", [])
    found = [
        accuracies(results),
        gains_figure(metrics["gains"]),
        pictures(rows),
        questions_table(rows),
        results_table(results),
        hierarchy_table(metrics["hierarchy"]),
        states_table(metrics["results"]),
        comparisons_table(metrics["models_compared"]),
        facets_table(metrics["facets"]),
    ]
    return Page(
        TITLE,
        verdict=_verdict(results),
        story=[_task(metrics), _blindness(metrics), _reading(metrics), _limits(metrics)],
        facts=_facts(results, metrics),
        exhibits=[exhibit for exhibit in found if exhibit is not None],
    )


def build_comparison(_: Sequence[Row], metrics: Metrics) -> Page:
    """The page of runs side by side."""
    results = scored(metrics)
    found = [
        accuracies(results) if results else None,
        comparisons_table(metrics["models_compared"]),
        gains_figure(metrics["gains"]),
        results_table(results) if results else None,
        hierarchy_table(metrics["hierarchy"]),
    ]
    compared = metrics["models_compared"]
    differing = sum(pair["p_holm"] < 0.05 for pair in compared)
    return Page(
        "See: models side by side",
        verdict=f"Of {len(compared)} comparisons between models {differing} differ beyond chance (p < .05 after Holm).",
        story=["Each pair of models was compared on the same questions, and whole blocks were resampled together."],
        facts={"Runs": str(len(metrics["runs"])), "Comparisons": str(len(compared))},
        exhibits=[exhibit for exhibit in found if exhibit is not None],
    )


def scored(metrics: Metrics) -> list[dict[str, Any]]:
    """The results that have an accuracy."""
    return [result for result in metrics["results"] if result.get("accuracy") is not None]


def _verdict(results: Sequence[Row]) -> str:
    """The best result, against chance and, where a person's description was given, against shared words."""
    best = max(results, key=lambda result: result["accuracy"])
    low = best["accuracy_ci"][0]
    against = "above the chance of 25 %" if low > CHANCE else "not clearly above the chance of 25 %"
    share = f"{percent(best['accuracy'])} of the questions under arm {best['arm']}"
    verdict = f"{best['model']} chose the right {best['task']} in {share}, {against}"
    over = best.get("over_word_overlap")
    if over is None:
        return f"{verdict}."
    if over["p"] < 0.05 and over["difference"] > 0:
        return f"{verdict} and above what shared words alone achieve ({percent(best['word_overlap'])})."
    return f"{verdict}, but shared words alone achieve {percent(best['word_overlap'])} as well (p {over['p']:.2g})."


def _task(metrics: Metrics) -> str:
    asked = ", ".join(f"{count} of task {task}" for task, count in metrics["num_questions"].items())
    return (
        "A cartoon shows one thing and means another. Each question gives four texts, and one of them belongs to the"
        f" picture: what is to be seen, the title, or the meaning. Here the questions were: {asked}. An arm says what the"
        " model was given: the picture, a wrong one or none; and a description by a person, by itself, or none."
    )


def _blindness(metrics: Metrics) -> str:
    if not metrics["blind_readings_checked"]:
        return "No arm without picture and description was run on blocks of four, so chance was not checked."
    return (
        "Four pictures share the same four texts in the same order, and each text is right once. A model that sees no"
        " picture reads the same question four times, gives one answer, and is right once: exactly 25 %. This was checked"
        f" on {metrics['blind_readings_checked']} readings of blocks and held in every one; a deviation would have stopped"
        " the run. An answer that cannot be read is right in none of the four."
    )


def _reading(metrics: Metrics) -> str:
    how = BARE_TEXT[metrics["scoring"]] if metrics["method"] == "text" else WITH_LETTERS[metrics["method"]]
    return f"{how} Intervals come from resampling whole blocks; differences are paired by question."


def _limits(metrics: Metrics) -> str:
    text = (
        "What this does not show: how a model would explain a cartoon in its own words, and how it does on other cartoons."
    )
    lost = sum(metrics["num_without_picture"].values())
    if lost:
        text += f" {lost} questions dropped out of all arms because a picture of their block is not here."
    unscored = sum(result["unscored"] for result in metrics["results"])
    if unscored:
        text += f" {unscored} answers are unscored because a call failed; they count neither for nor against the model."
    return text


def _facts(results: Sequence[Row], metrics: Metrics) -> dict[str, str]:
    facts = {f"{line['model']}, {line['task']}, {line['arm']}": percent(line["accuracy"]) for line in results[:6]}
    facts |= {f"Shared words, {line['task']}": percent(line["word_overlap"]) for line in results if "word_overlap" in line}
    facts["Calls"] = str(sum(cost["calls"] for cost in metrics["cost"].values()))
    return facts
