"""The figures of this home's pages, as plain data for Plotly. Metrics and rows come in."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure

Row = Mapping[str, Any]
SHADES = [[0, "#e8eef4"], [1, "#1f5c99"]]
"""From nothing to all."""
SERIES = tuple(f"series-{number}" for number in range(1, 7))


def gains(arms: Mapping[str, Row]) -> Figure:
    """How much each arm's perplexity differs from plain LoRA's, with intervals."""
    told = {found["title"]: found["vs_lora"] for name, found in arms.items() if name not in ("lora", "base")}
    values = [change["value"] for change in told.values()]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": values,
        "y": list(told),
        "marker": {"color": "series-1"},
        "error_x": _errors(values, [change["ci"] for change in told.values()]),
        "hovertemplate": "%{y}: %{x:.2%}",
    }
    layout = {
        "height": 130 + 60 * len(told),
        "xaxis": {"title": {"text": "perplexity against plain LoRA"}, "tickformat": ".2%"},
        "yaxis": {"autorange": "reversed"},
        "shapes": [{"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dot"}}],
    }
    caption = "Left of the dotted line an arm predicts better than plain LoRA. The thin line is the 95% interval."
    return Figure("Who predicts better than plain LoRA", caption, {"data": [bars], "layout": layout})


def positions(arms: Mapping[str, Row]) -> Figure:
    """Perplexity by position in the window, arm by arm."""
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": found["title"],
            "x": list(found["by_position"]),
            "y": list(found["by_position"].values()),
            "line": {"color": SERIES[place % len(SERIES)]},
            "hovertemplate": "up to token %{x}: %{y:.2f}",
        }
        for place, found in enumerate(arms.values())
    ]
    layout = {
        "height": 360,
        "xaxis": {"title": {"text": "up to this token of the window"}, "type": "category"},
        "yaxis": {"title": {"text": "perplexity"}},
    }
    caption = "Tokens further on have more before them. Sentinels can help only where there is something to sum up."
    return Figure("Where in the text", caption, {"data": data, "layout": layout})


def losses(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Training losses by step."""
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": list(range(1, len(values) + 1)),
            "y": list(values),
            "line": {"color": SERIES[place % len(SERIES)], "width": 1.5},
            "hovertemplate": "step %{x}: %{y:.3f}",
        }
        for place, (name, values) in enumerate(curves.items())
    ]
    layout = {
        "height": 320,
        "xaxis": {"title": {"text": "step"}},
        "yaxis": {"title": {"text": "nats per token"}},
    }
    caption = "Each step sees other text, so the curves are rough. Arms saw the same text in the same order."
    return Figure("Training", caption, {"data": data, "layout": layout})


def rises(contenders: Mapping[str, Row], fractions: Sequence[float]) -> Figure:
    """By how much perplexity rises at each size of the cache."""
    data = []
    for place, (name, line) in enumerate(contenders.items()):
        found = [line["rise"][str(fraction)] for fraction in fractions]
        values = [change["value"] for change in found]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": list(fractions),
                "y": values,
                "error_y": _errors(values, [change["ci"] for change in found]),
                "line": {"color": SERIES[place % len(SERIES)]},
                "hovertemplate": "cache of %{x:.0%}: %{y:.2%}",
            }
        )
    layout = {
        "height": 360,
        "xaxis": {"title": {"text": "entries in the cache, of the full one's"}, "tickformat": ".0%"},
        "yaxis": {"title": {"text": "rise in perplexity"}, "tickformat": ".2%", "rangemode": "tozero"},
    }
    caption = "Against the same weights with everything visible. Lower is better; all have the same number of entries."
    return Figure("What forgetting costs", caption, {"data": data, "layout": layout})


def steps(speed: Row) -> Figure:
    """Milliseconds of a decoding step."""
    names = {"compact": "compacted", "lean": "our full cache", "transformers": "Transformers' full cache"}
    data = [
        {
            "type": "bar",
            "name": names[kind],
            "x": [f"batch {batch}" for batch in speed["seconds"]],
            "y": [1e3 * times[kind] for times in speed["seconds"].values()],
            "marker": {"color": colour},
            "hovertemplate": "%{x}: %{y:.1f} ms",
        }
        for kind, colour in zip(names, SERIES, strict=False)
    ]
    layout = {"height": 320, "barmode": "group", "yaxis": {"title": {"text": "milliseconds a step"}}}
    caption = f"Median of the timed steps after {speed['length']:,} tokens of text; {speed['entries']:,} entries are kept."
    return Figure("How fast it writes", caption, {"data": data, "layout": layout})


def grid(name: str, cells: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Shares of right answers by length and depth."""
    lengths = list(cells)
    depths = list(next(iter(cells.values())))
    values = [[cells[length][depth]["value"] if cells[length][depth] else None for length in lengths] for depth in depths]
    heat = {
        "type": "heatmap",
        "x": [f"{int(length):,}" for length in lengths],
        "y": [f"{float(depth):.0%}" for depth in depths],
        "z": values,
        "zmin": 0,
        "zmax": 1,
        "colorscale": SHADES,
        "colorbar": {"tickformat": ".0%"},
        "hovertemplate": "%{x} tokens, depth %{y}: %{z:.0%}",
    }
    layout = {
        "height": 300,
        "xaxis": {"title": {"text": "tokens of text"}, "type": "category"},
        "yaxis": {"title": {"text": "where the number stands"}, "type": "category", "autorange": "reversed"},
    }
    caption = "Share of numbers that were ranked first among ten. Guessing gets a tenth."
    return Figure(f"Found again: {name}", caption, {"data": [heat], "layout": layout})


def mask(seen: Sequence[Sequence[int]], pieces: Sequence[str]) -> Figure:
    """Who sees whom."""
    labels = [f"{place}: {piece.strip() or '·'}" for place, piece in enumerate(pieces[: len(seen)])]
    heat = {
        "type": "heatmap",
        "z": [list(row) for row in seen],
        "x": labels,
        "y": labels,
        "zmin": 0,
        "zmax": 1,
        "colorscale": SHADES,
        "showscale": False,
        "hovertemplate": "%{y} sees %{x}: %{z}",
    }
    layout = {
        "height": 620,
        "xaxis": {"showticklabels": False, "title": {"text": "whom"}},
        "yaxis": {"showticklabels": False, "autorange": "reversed", "title": {"text": "who sees"}, "scaleanchor": "x"},
    }
    caption = (
        "A row is an entry, a column what it may look at. Short rows are sentinels: they see their chunk and nothing else."
    )
    return Figure("The mask", caption, {"data": [heat], "layout": layout})


def course(values: Sequence[float], tokens: int) -> Figure:
    """Perplexity along a book."""
    size = tokens / len(values)
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [round((place + 1) * size) for place in range(len(values))],
        "y": list(values),
        "line": {"color": "series-1"},
        "hovertemplate": "around token %{x:,}: %{y:.2f}",
    }
    layout = {"height": 320, "xaxis": {"title": {"text": "token"}}, "yaxis": {"title": {"text": "perplexity"}}}
    caption = "If the cache lost its way the curve would climb. It goes on beyond the model's last position."
    return Figure("Along the book", caption, {"data": [line], "layout": layout})


def _errors(values: Sequence[float], intervals: Sequence[Sequence[float]]) -> dict[str, Any]:
    return {
        "symmetric": False,
        "array": [high - value for value, (_, high) in zip(values, intervals, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, intervals, strict=True)],
        "color": "ink",
        "thickness": 1.5,
    }
