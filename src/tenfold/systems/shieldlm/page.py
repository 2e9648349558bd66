"""The pages of the report: what a detector does on labels, rules and attacks, and how a training run went."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure, Page, Table

TITLES = {
    "accuracy": "Agreement with the labels",
    "f1_safe": "F1 of safe",
    "f1_unsafe": "F1 of unsafe",
}


def evaluation_page(rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> Page:
    """The page of an `eval` run."""
    exhibits = [make(metrics) for make in (_agreement, _reliability, _cascade, _categories, _rules, _promises)]
    return Page(
        title="Guard: does the detector see what is unsafe, and does it know how sure it is?",
        verdict=_verdict(metrics),
        story=_story(metrics),
        facts=_facts(metrics),
        exhibits=[exhibit for exhibit in exhibits if exhibit is not None],
    )


def training_page(rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> Page:
    """The page of a `train` run."""
    losses = next((row["losses"] for row in rows if row["key"] == "steps"), [])
    window = max(1, len(losses) // 40)
    smooth = [sum(losses[at : at + window]) / window for at in range(0, len(losses) - window + 1, window)]
    figure = {
        "data": [{"type": "scatter", "mode": "lines", "x": [window * (at + 1) for at in range(len(smooth))], "y": smooth}],
        "layout": {"xaxis": {"title": {"text": "optimizer step"}}, "yaxis": {"title": {"text": "loss (nats per token)"}}},
    }
    return Page(
        title="Guard: training the detector",
        verdict=f"{metrics['rows']} judged pairs were learnt in {metrics['steps']} steps; the loss of the verdict went from "
        f"{metrics['loss_first']:.2f} to {metrics['loss_last']:.2f} nats per token.",
        story=[
            "The loss counts the verdict alone, not the texts. Some pairs are learnt under rules that allow or forbid.",
            "How good the detector is, `tenfold shieldlm eval` says; this page says only that it learnt.",
        ],
        facts={"Model": str(metrics["model"]), "Method": str(metrics["method"]), "Tokens": f"{metrics['tokens']:,}"},
        exhibits=[Figure("Loss", "One step a point." if window == 1 else f"Mean over {window} steps.", figure)],
    )


def _verdict(metrics: Mapping[str, Any]) -> str:
    if "accuracy" not in metrics:
        return f"How {metrics['detector']} takes rules and attacks."
    low, high = metrics["accuracy_interval"]
    said = f"On {metrics['data']} it agrees with {metrics['accuracy']:.1%} of {metrics['items']} labels "
    said += f"({low:.1%} to {high:.1%})"
    if "linear_accuracy" in metrics:
        return f"{said}; a detector of words alone reaches {metrics['linear_accuracy']:.1%}."
    return f"{said}."


def _story(metrics: Mapping[str, Any]) -> list[str]:
    story = ["Texts of the sets are never shown: rows hold keys and scores."]
    if "accuracy" in metrics:
        story.append(
            "Maps and thresholds are fitted on one half of the contexts and judged on the other, twenty times; the error "
            "that a perfectly calibrated model would show on so few items stands beside the detector's own."
        )
    if "rule_gain" in metrics:
        story.append(
            "Each pair is judged under no rule, under the rule that allows its kind of harm, and under the one that forbids "
            "it. The gain is measured against the verdicts that these rules ask for."
        )
    return story


def _facts(metrics: Mapping[str, Any]) -> dict[str, str]:
    shown = {
        "Majority": ("majority", ".1%"),
        "Linear floor": ("linear_accuracy", ".1%"),
        "On unseen contexts": ("accuracy_unseen", ".1%"),
        "ECE after calibration": ("ece_calibrated", ".3f"),
        "False alarms asked 1 %": ("fpr_at_0.01", ".2%"),
        "False alarms asked 5 %": ("fpr_at_0.05", ".2%"),
        "Rule gain": ("rule_gain", "+.1%"),
        "Flip accuracy": ("flip_accuracy", ".1%"),
        "Verdicts lost to injected lines": ("injection_flips", "d"),
        "Explanations borne out": ("explanations_verified", ".1%"),
    }
    return {name: format(metrics[key], form) for name, (key, form) in shown.items() if metrics.get(key) is not None}


def _agreement(metrics: Mapping[str, Any]) -> Table | None:
    if "accuracy" not in metrics:
        return None
    rows = [
        [title, f"{metrics[key]:.3f}", "{:.3f} to {:.3f}".format(*metrics[f"{key}_interval"])]
        for key, title in TITLES.items()
    ]
    return Table("Agreement", "Intervals of 95 % over whole contexts.", ["measure", "value", "interval"], rows)


def _reliability(metrics: Mapping[str, Any]) -> Figure | None:
    if "reliability" not in metrics:
        return None
    said, true = [row[0] for row in metrics["reliability"]], [row[1] for row in metrics["reliability"]]
    data = [
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "name": "perfect", "line": {"dash": "dot"}},
        {"type": "scatter", "mode": "lines+markers", "x": said, "y": true, "name": "detector"},
    ]
    layout = {
        "xaxis": {"title": {"text": "mean score of the bin"}, "range": [0, 1]},
        "yaxis": {"title": {"text": "share that is unsafe"}, "range": [0, 1]},
    }
    return Figure(
        "Is the score a probability?",
        f"Ten bins of equally many items, before calibration. ECE {metrics['ece']:.3f}; a perfect model would show "
        f"{metrics['ece_null_mean']:.3f} on these items.",
        {"data": data, "layout": layout},
    )


def _cascade(metrics: Mapping[str, Any]) -> Figure | None:
    if "cascade_curve" not in metrics:
        return None
    x, y = zip(*metrics["cascade_curve"], strict=True)
    layout = {
        "xaxis": {"title": {"text": "share decided by the linear guard"}, "tickformat": ".0%"},
        "yaxis": {"title": {"text": "accuracy"}, "tickformat": ".1%"},
    }
    return Figure(
        "What a cheap first look costs",
        f"The linear guard decides where it is surest. At a loss of at most half a point it may decide "
        f"{metrics['cascade_share_linear']:.0%} of the items.",
        {"data": [{"type": "scatter", "mode": "lines+markers", "x": list(x), "y": list(y)}], "layout": layout},
    )


def _categories(metrics: Mapping[str, Any]) -> Table | None:
    if "category_accuracy" not in metrics:
        return None
    rows = [[name, f"{share:.1%}"] for name, share in metrics["category_accuracy"].items()]
    return Table("Category by category", "Share of labels the detector agrees with.", ["category", "accuracy"], rows)


def _rules(metrics: Mapping[str, Any]) -> Table | None:
    rows = [
        [f"under {name}", f"{metrics[f'accuracy_under_{name}']:.1%}"]
        for name in ("none", "loose", "strict", "other")
        if metrics.get(f"accuracy_under_{name}") is not None
    ]
    if "irrelevant_flips" in metrics:
        rows += [[f"changed by {n} other rules", f"{share:.1%}"] for n, share in metrics["irrelevant_flips"].items()]
        rows.append(["changed by another order", f"{metrics['permutation_flips']:.1%}"])
    caption = "Agreement with the verdict that the rules ask for; verdicts that other rules change."
    return Table("Rules", caption, ["condition", "share"], rows) if rows else None


def _promises(metrics: Mapping[str, Any]) -> Table | None:
    rows = [
        [f"{rate:.0%}", f"{metrics[f'fpr_at_{rate:g}']:.2%}", f"{metrics[f'fpr_at_{rate:g}_in_interval']:.0%}"]
        for rate in (0.01, 0.05)
        if metrics.get(f"fpr_at_{rate:g}") is not None
    ]
    columns = ["asked for", "seen", "halves within the binomial interval"]
    return Table("Promised false alarms", "Mean over twenty halves.", columns, rows) if rows else None
