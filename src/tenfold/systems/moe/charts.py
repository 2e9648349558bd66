"""The figures of this home's pages, as plain Plotly dictionaries."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure

SMOOTHED_POINTS = 40
Row = Mapping[str, Any]


def curves(lines: Mapping[str, Sequence[float]], title: str, caption: str, unit: str) -> Figure:
    """One line per name over the steps of a training run, each point the mean of a few neighbouring steps."""
    data = [_line(name, *smoothed(values), number) for number, (name, values) in enumerate(lines.items())]
    return Figure(title, caption, {"data": data, "layout": _layout("optimizer step", unit, legend=len(data) > 1)})


def lines(
    named: Mapping[str, Mapping[str, float]], title: str, caption: str, axes: tuple[str, str], *, marks: bool = True
) -> Figure:
    """One line per name through points that are labelled by text."""
    data = []
    for number, (name, points) in enumerate(named.items()):
        line = _line(name, list(points), list(points.values()), number)
        data.append(line | ({"mode": "lines+markers"} if marks else {}))
    layout = _layout(*axes, legend=len(data) > 1)
    return Figure(title, caption, {"data": data, "layout": layout | {"xaxis": {**layout["xaxis"], "type": "category"}}})


def bars(values: Mapping[str, tuple[float, Sequence[float]]], title: str, caption: str, unit: str) -> Figure:
    """Lying bars with their intervals; the axis starts near the values, since losses differ by little."""
    names = list(values)
    middle = [value for value, _ in values.values()]
    low = min(interval[0] for _, interval in values.values())
    high = max(interval[1] for _, interval in values.values())
    margin = max(high - low, 1e-6) * 0.15
    data = {
        "type": "scatter",
        "mode": "markers",
        "x": middle,
        "y": names,
        "marker": {"color": "series-1", "size": 10},
        "error_x": {
            "symmetric": False,
            "array": [interval[1] - value for value, interval in values.values()],
            "arrayminus": [value - interval[0] for value, interval in values.values()],
            "color": "ink",
            "thickness": 1.5,
        },
        "hovertemplate": "%{y}: %{x:.4f}",
        "showlegend": False,
    }
    layout = {
        "height": 140 + 42 * len(names),
        "xaxis": {"title": {"text": unit}, "range": [low - margin, high + margin]},
        "yaxis": {"autorange": "reversed", "type": "category"},
    }
    return Figure(title, caption, {"data": [data], "layout": layout})


def heat(matrix: Sequence[Sequence[float]], rows: Sequence[str], title: str, caption: str, axes: tuple[str, str]) -> Figure:
    """A matrix by colour; columns are experts."""
    data = {
        "type": "heatmap",
        "z": [list(row) for row in matrix],
        "y": list(rows),
        "x": [str(number) for number in range(len(matrix[0]))],
        "colorscale": [[0, "#eef2f7"], [1, "#1b5299"]],
        "hovertemplate": f"%{{y}}, {axes[0]} %{{x}}: %{{z:.2f}}<extra></extra>",
    }
    layout = {
        "height": max(260, 130 + min(14 * len(rows), 500)),
        "xaxis": {"title": {"text": axes[0]}, "type": "category", "showgrid": False},
        "yaxis": {"title": {"text": axes[1]}, "type": "category", "autorange": "reversed", "showgrid": False},
    }
    return Figure(title, caption, {"data": [data], "layout": layout})


def smoothed(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """(steps, means) of at most 40 windows."""
    width = max(1, -(-len(values) // SMOOTHED_POINTS))
    windows = [values[start : start + width] for start in range(0, len(values), width)]
    steps = [start + (len(window) + 1) / 2 for start, window in zip(range(0, len(values), width), windows, strict=True)]
    return steps, [sum(window) / len(window) for window in windows]


def _line(name: str, x: Sequence[Any], y: Sequence[float], number: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"color": f"series-{number % 5 + 1}", "width": 2},
        "hovertemplate": f"{name}, %{{x}}: %{{y:.3f}}",
    }


def _layout(x: str, y: str, *, legend: bool) -> dict[str, Any]:
    return {
        "height": 360,
        "showlegend": legend,
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y}},
    }
