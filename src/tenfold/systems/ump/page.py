"""A run as a page of the report: what was noticed, what was flagged for nothing, and answers with their marks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure, Metrics, Page, Table
from tenfold.systems.ump.running import harm_words, percent

ANSWERS_SHOWN = 8
LONGEST_SHOWN = 260
BLIND = 0.5


def build(rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The page of a run."""
    answers = [row for row in rows if row.get("kind") == "answer" and metrics["method"] == "generate"]
    return Page(
        title="Reason: does it notice that a problem makes no sense?",
        verdict=_verdict(metrics),
        story=list(_story(metrics)),
        facts=_facts(metrics),
        exhibits=[
            _rates(metrics),
            _separation(metrics),
            _categories(metrics),
            _comparisons(metrics),
            *([_answers(answers)] if answers else []),
        ],
    )


def _cells(metrics: Metrics) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(label, measures) of every model and template."""
    for model, ways in metrics["models"].items():
        for name, row in ways.items():
            yield (f"{model}, {name}" if len(metrics["models"]) > 1 else name), row


def _verdict(metrics: Metrics) -> str:
    """The best separation of sound from flawed, with its interval: whether there is a signal at all."""
    known = [(label, row["pair_sep"]) for label, row in _cells(metrics) if row["pair_sep"]]
    if not known:
        return "The problems do not come in pairs, so whether flaws are noticed cannot be told from chance."
    label, best = max(known, key=lambda each: each[1]["value"])
    told = "which is better than chance" if best["low"] > BLIND else "which is no better than chance"
    return f"At best ({label}) a flawed problem is told from its sound twin in {percent(best)} of the cases, {told}."


def _story(metrics: Metrics) -> Iterator[str]:
    yield (
        "Each block holds four texts: two sound problems and two flawed ones, made of the same words. Whoever looks at the "
        "words alone calls sound and flawed problems flawed equally often, so only the difference between the two counts. "
        "All flaws are certified: a checker that knows nothing of how the texts were made has recomputed them."
    )
    for model, compared in metrics["compared"].items():
        for name, each in compared.items():
            yield f"{model}, {name} against {metrics['base']}: {harm_words(each)}."
    if set(metrics["models"]) == {"smollm2"}:
        yield (
            "A model of 135 million parameters solves few of even the sound problems, so it cannot notice what is wrong "
            "with the others. This stage shows the apparatus; give it a larger model to learn something about a prompt."
        )


def _facts(metrics: Metrics) -> dict[str, str]:
    facts = {"Problems": str(metrics["problems"]), "Blocks": str(metrics["blocks"])}
    for label, row in _cells(metrics):
        facts[f"Pairs in order, {label}"] = percent(row["pair_sep"])
    return facts


def _rates(metrics: Metrics) -> Figure:
    """Flaws noticed beside false alarms; a template helps only where the two part."""
    labels = [label for label, _ in _cells(metrics)]
    series = (("abs_strict", "flaw noticed", "series-1"), ("false_alarm", "false alarm", "series-2"))
    if metrics["method"] == "generate":
        series = (("acc", "sound problem solved", "series-3"), *series)
    return Figure(
        title="Noticed, and flagged for nothing",
        caption="A prompt that makes a model suspicious of everything raises both; only their difference is understanding. "
        "Bars are 95 % intervals over blocks.",
        plotly={
            "data": [_bars(metrics, labels, key, name, colour) for key, name, colour in series],
            "layout": {"barmode": "group", "yaxis": {"tickformat": ".0%", "range": [0, 1]}},
        },
    )


def _separation(metrics: Metrics) -> Figure:
    labels = [label for label, _ in _cells(metrics)]
    chance = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": BLIND, "y1": BLIND, "line": {"dash": "dash"}}
    return Figure(
        title="Sound and flawed, put in order",
        caption="The share of a block's comparisons in which the flawed text is called flawed with the higher probability; "
        "the dashed line is a blind answerer.",
        plotly={
            "data": [_bars(metrics, labels, "pair_sep", "pairs in order", "series-1")],
            "layout": {"yaxis": {"tickformat": ".0%", "range": [0, 1]}, "shapes": [chance], "showlegend": False},
        },
    )


def _bars(metrics: Metrics, labels: Sequence[str], key: str, name: str, colour: str) -> dict[str, Any]:
    found = [row.get(key) for _, row in _cells(metrics)]
    return {
        "type": "bar",
        "name": name,
        "x": list(labels),
        "y": [each["value"] if each else None for each in found],
        "marker": {"color": colour},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [each["high"] - each["value"] if each else None for each in found],
            "arrayminus": [each["value"] - each["low"] if each else None for each in found],
        },
    }


def _categories(metrics: Metrics) -> Table:
    rows = [
        [f"{label}: {category}", str(each["n"]), *(percent(each[key]) for key in ("abs_strict", "false_alarm", "pair_sep"))]
        for label, row in _cells(metrics)
        for category, each in row["per_category"].items()
    ]
    return Table(
        title="By kind of flaw",
        caption="The five kinds differ in what it takes to notice them.",
        columns=["template and kind", "problems", "noticed", "false alarm", "pairs in order"],
        rows=rows,
    )


def _comparisons(metrics: Metrics) -> Table:
    rows = [
        [
            f"{model}: {name}",
            *_change(each.get("abs_strict")),
            *_change(each.get("false_alarm"))[:1],
            _harm(each.get("harm")),
        ]
        for model, compared in metrics["compared"].items()
        for name, each in compared.items()
    ]
    return Table(
        title=f"Against {metrics['base']}",
        caption="The same problems under both templates. Harm: whether more than 2 points of the sound problems are lost.",
        columns=["template", "noticed, change in points", "p after Holm", "false alarm, change", "harm"],
        rows=rows,
    )


def _change(difference: Mapping[str, Any] | None) -> list[str]:
    if not difference:
        return ["–", "–"]
    value, low, high = (f"{100 * difference[key]:+.1f}" for key in ("value", "low", "high"))
    return [f"{value} ({low} to {high})", f"{difference.get('p_holm', difference['p']):.3f}"]


def _harm(harm: Mapping[str, Any] | None) -> str:
    return "–" if not harm else harm["verdict"]


def _answers(answers: Sequence[Mapping[str, Any]]) -> Table:
    """A few answers, equally many to sound and to flawed problems, with what the judge made of them."""
    chosen = [
        row for sound in (False, True) for row in [each for each in answers if each["sound"] is sound][: ANSWERS_SHOWN // 2]
    ]
    return Table(
        title="Some answers",
        caption="Shortened. The judge reads how an answer ends: rules, then a linear model, then a grader if there is one.",
        columns=["problem", "it is", "template", "answer", "judged", "by"],
        rows=[
            [
                _short(row["question"]),
                "sound" if row["sound"] else f"flawed ({row['category']})",
                row["template"],
                _short(row["text"]) or "(empty)",
                _judged(row),
                row["stage"],
            ]
            for row in chosen
        ],
    )


def _judged(row: Mapping[str, Any]) -> str:
    if row["mark"] is None:
        return "not judged"
    said = {1.0: "flaw noticed", 0.5: "noticed, yet answered", 0.0: "nothing noticed"}[row["mark"]]
    return f"{said}, solved" if row["solved"] else said


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= LONGEST_SHOWN else f"{words[: LONGEST_SHOWN - 1]}…"
