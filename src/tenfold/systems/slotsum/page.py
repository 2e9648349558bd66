"""Runs of this home as pages of the report. Rows and metrics come in; coloured texts, tables and figures go out."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import ColouredText, Figure, Metrics, Page, Span, Table
from tenfold.systems.slotsum.explain import MEANINGS, pieces_of

STORY = (
    "A description of a person, a place or a product is prose that could be about any of them, and facts that could not. "
    "The model writes only the prose, with named slots; no number, date or known value can be written outside a slot. "
    "What stands in a slot is copied from a document, at a place that can be pointed at, and compared with a knowledge "
    "base: what says the same stays as it is, what certainly differs is replaced, and what nobody says is left out."
)


def build_run(rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The page of `slotsum run`."""
    return Page(
        title="Ground: every fact has a source",
        verdict=_verdict(metrics),
        story=[STORY],
        facts={
            "Facts that stand and have a source": _percent(metrics["sourced"]),
            "Corrected": str(metrics["corrected"]),
            "Left out": str(metrics["discarded"]),
            "Fewer tokens encoded": f"{metrics['fewer_tokens']:.1f} times" if metrics["fewer_tokens"] else "not measured",
        },
        exhibits=[*(_coloured(row) for row in rows if row["text"]), _slots(rows)],
    )


def _verdict(metrics: Metrics) -> str:
    pointers = "every pointer leads there" if metrics["valid_pointers"] else "some pointers lead nowhere"
    return (
        f"Of the facts in {metrics['entities']} texts {_percent(metrics['sourced'])} have a source, and {pointers}; "
        f"{metrics['corrected']} were corrected, {metrics['discarded']} left out."
    )


def _coloured(row: Mapping[str, Any]) -> ColouredText:
    spans = [Span(piece["text"], piece["slot"]["action"] if "slot" in piece else "prose") for piece in pieces_of(row)]
    used = {span.source for span in spans}
    legend = {"prose": "written by the model", **MEANINGS}
    made = "The model wrote no slot, so the keys are listed" if row["is_listing"] else "The template"
    return ColouredText(
        title=row["title"],
        caption=f"{made}: {row['template']}",
        spans=spans,
        legend={name: meaning for name, meaning in legend.items() if name in used},
    )


def _slots(rows: Sequence[Mapping[str, Any]]) -> Table:
    listed = [
        [
            row["title"],
            slot["slot"],
            slot["surface"] or "",
            slot["action"],
            slot["predicted"] or "",
            "; ".join(slot["known"]),
        ]
        for row in rows
        for slot in row["slots"]
    ]
    return Table(
        title="Slot by slot",
        caption="What stands in each slot, what became of it, what the filler read, and what the knowledge base says.",
        columns=["text", "slot", "stands there", "what happened", "read in documents", "knowledge base"],
        rows=listed,
    )


def build_eval(rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The page of `slotsum eval`."""
    arms = metrics["arms"]
    return Page(
        title="Ground: false facts, with and without slots",
        verdict=_eval_verdict(metrics),
        story=[STORY, "A fact is false if the knowledge base says otherwise (a document had it wrong) or nobody says it."],
        facts={
            "Entities": str(metrics["entities"]),
            "Slot keys, F1": f"{metrics['slot_keys']['f1']:.2f}",
            "Valid pointers": _percent(metrics["valid_pointers"]),
        },
        exhibits=[_bars(arms), _curve(metrics["curve"]), _arms(arms)],
    )


def _eval_verdict(metrics: Metrics) -> str:
    arms = metrics["arms"]
    name = next((arm for arm in arms if arm.startswith("slots verify 1")), next(iter(arms)))
    ours = f"Corrected slots leave {arms[name]['false_facts']:.2f} false facts in a text"
    if "plain" not in arms:
        return f"{ours}; no model that writes freely was run beside them."
    return f"{ours}, a model that writes freely from the same documents {arms['plain']['false_facts']:.2f}."


def _bars(arms: Mapping[str, Mapping[str, Any]]) -> Figure:
    names = list(arms)
    bars = [
        {"type": "bar", "name": kind, "x": names, "y": [arms[name][kind] for name in names]}
        for kind in ("contradicted", "hallucinated")
    ]
    layout = {"barmode": "stack", "yaxis": {"title": {"text": "false facts a text"}}, "xaxis": {"tickangle": -40}}
    return Figure("False facts of each way to a text", "Lower is better.", {"data": bars, "layout": layout})


def _curve(curve: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    lines = [
        {"type": "scatter", "mode": "lines+markers", "name": name, "x": [x for x, _ in points], "y": [y for _, y in points]}
        for name, points in curve.items()
    ]
    layout = {
        "xaxis": {"title": {"text": "share of the keys that the knowledge base holds"}},
        "yaxis": {"title": {"text": "false facts a text"}, "rangemode": "tozero"},
    }
    caption = "What each strategy makes of a knowledge base that holds more and more of the keys."
    return Figure("The fact-ratio curve", caption, {"data": lines, "layout": layout})


def _arms(arms: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = ["way", "false facts", "contradicted", "hallucinated", "missing", "ROUGE-1", "ROUGE-2", "ROUGE-L"]
    names = ("false_facts", "contradicted", "hallucinated", "missing", "rouge1", "rouge2", "rougeL")
    rows = [[name, *(f"{arm[column]:.3f}" for column in names)] for name, arm in arms.items()]
    return Table("Arm by arm", "Means per text. The metrics file holds the 95 % intervals over entities.", columns, rows)


def build_inject(rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The page of `slotsum inject`."""
    kinds = [[kind, str(one["injected"]), _percent(one["localisation"]), _percent(one["rectification"])]
             for kind, one in metrics["by_kind"].items()]  # fmt: skip
    wrong = [slot for row in rows for slot in row["slots"] if slot["mark"] not in (None, "restated")][:40]
    return Page(
        title="Ground: planted errors",
        verdict=(
            f"Of {metrics['injected']} planted errors {_percent(metrics['localisation'])} were found and "
            f"{_percent(metrics['rectification'])} corrected; "
            f"{metrics['false_edits']} of {metrics['untouched']} right facts changed."
        ),
        story=["Errors of five kinds were planted in slots, and other slots were written in other words that say the same."],
        facts={
            "Found": _percent(metrics["localisation"]),
            "Corrected": _percent(metrics["rectification"]),
            "False edits": str(metrics["false_edits"]),
            "Found in flat text": _percent(metrics["text_localisation"]),
        },
        exhibits=[
            Table(
                "Kind by kind",
                "How many were planted, found and corrected.",
                ["kind", "planted", "found", "corrected"],
                kinds,
            ),
            Table(
                "Some of the errors",
                "What was planted and what stands there now.",
                ["key", "kind", "true", "planted", "afterwards"],
                [[slot["key"], slot["mark"], slot["gold"], slot["before"], slot["after"]] for slot in wrong],
            ),
        ],
    )


def _percent(share: float | None) -> str:
    return f"{share:.1%}" if share is not None else "not measured"
