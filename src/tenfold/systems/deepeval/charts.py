"""The figures and pictures of a run's page, as plain records; the tables are in `tables`."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure, Picture, Pictures

Row = Mapping[str, Any]
COLOURS = ("#3b6ea5", "#c0713b", "#5a8f5a", "#8a5fa8", "#a8505a", "#5f8a94")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def accuracies(results: Sequence[Row]) -> Figure:
    """Accuracy with interval by arm, one colour and symbol for each model and task, chance as a dotted line."""
    series, arms = _series(results), list(dict.fromkeys(result["arm"] for result in results))
    layout = _layout("share right", len(arms), len(series), line_at=0.25)
    layout["xaxis"] |= {"range": [0, 1], "tickformat": ".0%"}
    data = [_marks(place, name, lines, "accuracy", "arm") for place, (name, lines) in enumerate(series.items())]
    caption = "The dotted line is chance. The line through a mark is its 95 % interval, from resampling whole blocks."
    return Figure("How often the right text was chosen", caption, {"data": data, "layout": layout})


def gains_figure(gains: Sequence[Row]) -> Figure | None:
    """Each gain with its interval, around zero."""
    if not gains:
        return None
    series, arms_of = _series(gains), {gain["gain"]: gain["arms"] for gain in gains}
    layout = _layout("difference of the shares right", len(arms_of), len(series), line_at=0)
    layout["xaxis"] |= {"tickformat": "+.0%"}
    data = [_marks(place, name, lines, "difference", "gain") for place, (name, lines) in enumerate(series.items())]
    meaning = "; ".join(f"{name} = {more} less {less}" for name, (more, less) in arms_of.items())
    caption = f"Each gain is one arm less another on the same questions: {meaning}."
    return Figure("What picture and description add", caption, {"data": data, "layout": layout})


def _series(lines: Sequence[Row]) -> dict[str, list[Row]]:
    series: dict[str, list[Row]] = {}
    for line in lines:
        series.setdefault(f"{line['model']}, {line['task']}", []).append(line)
    return series


def _marks(place: int, name: str, lines: Sequence[Row], value: str, group: str) -> dict[str, Any]:
    colour = COLOURS[place % len(COLOURS)]
    values, bounds = [line[value] for line in lines], [line[f"{value}_ci"] for line in lines]
    interval = {
        "symmetric": False,
        "array": [high - middle for middle, (_, high) in zip(values, bounds, strict=True)],
        "arrayminus": [middle - low for middle, (low, _) in zip(values, bounds, strict=True)],
    }
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "offsetgroup": name,
        "orientation": "h",
        "x": values,
        "y": [line[group] for line in lines],
        "marker": {"color": colour, "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 9},
        "error_x": interval | {"color": colour, "thickness": 1.5, "width": 0},
        "hovertemplate": "%{y}: %{x:.1%}",
    }


def _layout(quantity: str, num_groups: int, num_series: int, *, line_at: float) -> dict[str, Any]:
    line = {"type": "line", "x0": line_at, "x1": line_at, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dot"}}
    return {
        "height": 150 + num_groups * (24 + 14 * num_series),
        "scattermode": "group",
        "xaxis": {"title": {"text": quantity}},
        "yaxis": {"autorange": "reversed"},
        "shapes": [line],
    }


def pictures(rows: Sequence[Row]) -> Pictures | None:
    """Small copies of our own pictures, where the run kept some."""
    kept = [Picture(row["data_uri"], row["caption"]) for row in rows if row.get("kind") == "picture"]
    return Pictures("Some of the pictures", "Each with the text that belongs to it.", kept) if kept else None
