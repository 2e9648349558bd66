"""The figures of PeriodicLoRA's pages, as plain Plotly dictionaries."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure

Row = Mapping[str, Any]
COLOURS = {
    "lora": "muted",
    "plora": "series-1",
    "plora-exact": "series-2",
    "relora": "series-3",
    "lora-wide": "series-4",
    "fullft": "series-5",
}
MEASURES = {"train_probe": ("rows it was trained on", "series-2"), "dev": ("rows held out", "series-1")}
SMOOTHED_POINTS = 40


def losses(curves: Mapping[str, Sequence[float]], unloads: Sequence[int], colours: Mapping[str, str]) -> Figure:
    """Loss of each step, as the mean of a few neighbouring steps, with a dotted line at each unload."""
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            **smoothed(curve),
            "line": {"color": colours.get(name, "series-1"), "width": 2},
            "hovertemplate": "step %{x:.0f}: %{y:.3f}",
        }
        for name, curve in curves.items()
    ]
    layout = {
        "height": 380,
        "showlegend": len(data) > 1,
        "xaxis": {"title": {"text": "optimizer step"}},
        "yaxis": {"title": {"text": "loss on the batch (nats per token)"}},
        "shapes": [_mark(step) for step in unloads],
    }
    caption = "Each dotted line is an unload: the small update goes into the weights, and a new one starts at zero."
    return Figure("The loss while training", caption, {"data": data, "layout": layout})


def smoothed(curve: Sequence[float]) -> dict[str, list[float]]:
    """At most 40 points, each the mean of a window; {x: middle steps, y: means}."""
    width = max(1, -(-len(curve) // SMOOTHED_POINTS))
    windows = [curve[start : start + width] for start in range(0, len(curve), width)]
    middles = [start + (len(window) + 1) / 2 for start, window in zip(range(0, len(curve), width), windows, strict=True)]
    return {"x": middles, "y": [sum(window) / len(window) for window in windows]}


def _mark(step: int) -> dict[str, Any]:
    line = {"dash": "dot", "width": 1}
    return {"type": "line", "x0": step + 0.5, "x1": step + 0.5, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def ranks(stages: Sequence[Row], live_rank: int) -> Figure:
    """Rank of the whole update after each stage, beside what it could be at most."""
    numbers = [str(number) for number in range(1, len(stages) + 1)]
    most = [live_rank * number for number in range(1, len(stages) + 1)]
    bars = {"type": "bar", "name": "measured", "x": numbers, "y": [row["total_rank"] for row in stages]}
    line = {"type": "scatter", "mode": "lines+markers", "name": "sum of the ranks", "x": numbers, "y": most}
    data = [
        bars | {"marker": {"color": "series-1"}, "hovertemplate": "after stage %{x}: %{y:.1f}"},
        line | {"line": {"color": "ink", "dash": "dot"}, "hovertemplate": "at most %{y}"},
    ]
    layout = {
        "height": 320,
        "xaxis": {"title": {"text": "stage"}, "type": "category"},
        "yaxis": {"title": {"text": "rank of the update"}, "rangemode": "tozero"},
    }
    caption = (
        "Mean over a spread of matrices of the singular values above a thousandth of the largest. Where the bars reach the"
        " dotted line, every stage brought directions that no earlier one had."
    )
    return Figure("How the rank of the update grows", caption, {"data": data, "layout": layout})


def telemetry(stages: Sequence[Row]) -> Figure:
    """Size and novelty of what each stage unloaded."""
    numbers = [str(number) for number in range(1, len(stages) + 1)]
    named = {
        "size beside the weights": [row["relative_norm"] for row in stages],
        "share in directions seen before": [row["overlap"] for row in stages],
    }
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": numbers,
            "y": values,
            "line": {"color": colour},
            "hovertemplate": f"stage %{{x}}, {name}: %{{y:.2%}}",
        }
        for (name, values), colour in zip(named.items(), ("series-1", "series-2"), strict=True)
    ]
    layout = {
        "height": 320,
        "xaxis": {"title": {"text": "stage"}, "type": "category"},
        "yaxis": {"title": {"text": "share"}, "tickformat": ".0%", "rangemode": "tozero"},
    }
    caption = "How large the update of a stage is, beside the weights it changes, and how much of its input side is not new."
    return Figure("What each stage brought", caption, {"data": data, "layout": layout})


def abilities(lines: Sequence[Row]) -> Figure | None:
    """Learning ability of each method on both measures, with intervals; LoRA itself is the line at 1."""
    known = [line for line in lines if line["method"] != "lora" and any(line["learning_ability"].values())]
    if not known:
        return None
    at_one = {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dot"}}
    layout = {
        "height": 150 + 70 * len(known),
        "barmode": "group",
        "shapes": [at_one],
        "xaxis": {"title": {"text": "gain over the untrained model, LoRA's gain = 1"}},
        "yaxis": {"autorange": "reversed"},
    }
    data = [_bars(known, measure) for measure in MEASURES]
    caption = "Right of the dotted line a method learned more than LoRA. The thin line is the 95% interval."
    return Figure("Who learned more than LoRA", caption, {"data": data, "layout": layout})


def _bars(lines: Sequence[Row], measure: str) -> dict[str, Any]:
    told = [(line["title"], line["learning_ability"][measure]) for line in lines if line["learning_ability"][measure]]
    values = [ability["value"] for _, ability in told]
    name, colour = MEASURES[measure]
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": values,
        "y": [title for title, _ in told],
        "marker": {"color": colour},
        "error_x": {
            "symmetric": False,
            "array": [ability["interval"][1] - ability["value"] for _, ability in told],
            "arrayminus": [ability["value"] - ability["interval"][0] for _, ability in told],
            "color": "ink",
            "thickness": 1.5,
        },
        "hovertemplate": "%{y}: %{x:.2f}",
    }
