"""The figures of the activation pages, as plain Plotly dictionaries."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure

Row = Mapping[str, Any]
COLOURS = ("series-1", "series-2", "series-3", "series-4", "series-5", "series-6")


def density(target: str, found: Mapping[str, Row]) -> Figure:
    """Density by layer, a line a domain, with its interval as error bars."""
    data = []
    for place, (name, curve) in enumerate(found.items()):
        values, bounds = curve["values"], curve["intervals"]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": list(range(1, len(values) + 1)),
                "y": values,
                "line": {"color": COLOURS[place % len(COLOURS)]},
                "error_y": {
                    "symmetric": False,
                    "array": [high - value for value, (_, high) in zip(values, bounds, strict=True)],
                    "arrayminus": [value - low for value, (low, _) in zip(values, bounds, strict=True)],
                    "thickness": 1,
                },
                "hovertemplate": f"{name}, layer %{{x}}: %{{y:.1%}}",
            }
        )
    layout: dict[str, Any] = _axes("layer", "share of activated weights") | {"height": 400}
    layout["yaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    caption = (
        "The share of a layer's weights that act more than the common threshold. The bars are 95% intervals over texts."
    )
    return Figure(f"Density by depth, {target}", caption, {"data": data, "layout": layout})


def modules(target: str, rows: Sequence[Row]) -> Figure:
    """Mean activation of each kind of matrix in each layer and domain, as a heat map on a logarithmic scale."""
    lines: dict[str, dict[int, float]] = {}
    for row in rows:
        for kind in row["kinds"]:
            lines.setdefault(f"{row['domain']} · {kind['module'].split('.')[-1]}", {})[kind["layer"]] = kind["importance"]
    layers = sorted({layer for line in lines.values() for layer in line})
    grid = [[_log(line.get(layer)) for layer in layers] for line in lines.values()]
    data = [
        {
            "type": "heatmap",
            "x": [layer + 1 for layer in layers],
            "y": list(lines),
            "z": grid,
            "colorscale": [[0, "#eef3fa"], [1, "#123a75"]],
            "colorbar": {"title": {"text": "log10"}},
            "hovertemplate": "%{y}, layer %{x}: 10^%{z:.2f}",
        }
    ]
    layout: dict[str, Any] = _axes("layer", "") | {"height": 160 + 14 * len(lines), "margin": {"l": 150}}
    caption = "The mean of |w * dD/dw| of each matrix, as a power of ten. The darker, the more its weights act."
    return Figure(f"Which matrices act, {target}", caption, {"data": data, "layout": layout})


def _log(value: float | None) -> float | None:
    return math.log10(value) if value else None


def likeness(target: str, by_layer: Sequence[Row]) -> Figure:
    """Cosines of pairs of the same and of different domains, layer by layer, as boxes."""
    data = []
    for name, title, colour in (("same", "same domain", "series-1"), ("cross", "different domains", "series-2")):
        marks = list(zip(*(layer[name] for layer in by_layer), strict=True))
        data.append(
            {
                "type": "box",
                "name": title,
                "x": list(range(1, len(by_layer) + 1)),
                "lowerfence": list(marks[0]),
                "q1": list(marks[1]),
                "median": list(marks[2]),
                "q3": list(marks[3]),
                "upperfence": list(marks[4]),
                "marker": {"color": colour},
            }
        )
    layout: dict[str, Any] = _axes("layer", "cosine of two texts' patterns") | {"height": 400, "boxmode": "group"}
    caption = "Boxes hold the middle half of all pairs of texts, whiskers nine tenths."
    return Figure(f"How alike texts are, {target}", caption, {"data": data, "layout": layout})


def domain_matrices(target: str, matrices: Mapping[str, Sequence[Sequence[float]]], domains: Sequence[str]) -> Figure:
    """Mean cosine between domains, in the shallow half and in the deep layers."""
    data = []
    for place, (name, matrix) in enumerate(matrices.items()):
        axis = "" if place == 0 else "2"
        data.append(
            {
                "type": "heatmap",
                "x": list(domains),
                "y": list(domains),
                "z": [list(row) for row in matrix],
                "texttemplate": "%{z:.2f}",
                "xaxis": f"x{axis}",
                "yaxis": f"y{axis}",
                "showscale": False,
                "hovertemplate": f"{name}: %{{y}} and %{{x}} %{{z:.3f}}",
            }
        )
    layout = {
        "height": 380,
        "xaxis": {"domain": [0, 0.44], "title": {"text": "shallow half"}},
        "xaxis2": {"domain": [0.56, 1], "title": {"text": "deep layers"}},
        "yaxis": {"autorange": "reversed"},
        "yaxis2": {"anchor": "x2", "autorange": "reversed"},
    }
    caption = "Mean cosine of the patterns of two texts, by their domains. A text is not compared with itself."
    return Figure(f"Domains beside each other, {target}", caption, {"data": data, "layout": layout})


def points(target: str, rows: Sequence[Sequence[Any]]) -> Figure:
    """Texts on two principal coordinates of their likeness in deep layers."""
    data = []
    for place, name in enumerate(dict.fromkeys(row[2] for row in rows)):
        mine = [row for row in rows if row[2] == name]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [row[0] for row in mine],
                "y": [row[1] for row in mine],
                "marker": {"color": COLOURS[place % len(COLOURS)], "size": 7},
            }
        )
    layout: dict[str, Any] = _axes("first coordinate", "second coordinate") | {"height": 420}
    return Figure(
        f"A map of the texts, {target}",
        "Each point is a text; near points have like patterns.",
        {"data": data, "layout": layout},
    )


def audit(rows: Sequence[Row]) -> Figure:
    """Estimate against exact zeroing, each weight a point, on logarithmic axes."""
    data = []
    for place, target in enumerate(dict.fromkeys(row["target"] for row in rows)):
        weights = [weight for row in rows if row["target"] == target for weight in row["weights"]]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": target,
                "x": [weight["exact"] for weight in weights],
                "y": [weight["estimate"] for weight in weights],
                "marker": {"color": COLOURS[place], "size": 5, "opacity": 0.6},
                "hovertemplate": "exact %{x:.2e}, estimate %{y:.2e}",
            }
        )
    layout: dict[str, Any] = _axes("change when the weight is zeroed", "|w * dD/dw|") | {"height": 420}
    for axis in ("xaxis", "yaxis"):
        layout[axis] |= {"type": "log", "exponentformat": "power"}
    caption = "Points on the diagonal are weights whose effect one backward pass foretells exactly."
    return Figure("The estimate, audited", caption, {"data": data, "layout": layout})


def plans(found: Mapping[str, Mapping[str, Row]]) -> Figure:
    """Sparsity by layer under each allocation, for the first sparsity."""
    sparsity, allocations = next(iter(found.items()))
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": list(range(1, len(one["plan"]["layers"]) + 1)),
            "y": one["plan"]["layers"],
            "line": {"color": COLOURS[place % len(COLOURS)]},
            "hovertemplate": f"{name}, layer %{{x}}: %{{y:.1%}}",
        }
        for place, (name, one) in enumerate(allocations.items())
    ]
    layout: dict[str, Any] = _axes("layer", "share pruned") | {"height": 360}
    layout["yaxis"] |= {"tickformat": ".0%"}
    caption = "Every plan removes the same share of all weights; they differ in where."
    return Figure(f"What each plan prunes, {float(sparsity):.0%} in all", caption, {"data": data, "layout": layout})


def perplexities(found: Mapping[str, Mapping[str, Row]], dense: float) -> Figure:
    """Perplexity by sparsity, a line an allocation."""
    names = dict.fromkeys(name for one in found.values() for name in one)
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [float(sparsity) for sparsity, one in found.items() if name in one],
            "y": [one[name]["perplexity"] for one in found.values() if name in one],
            "line": {"color": COLOURS[place % len(COLOURS)]},
        }
        for place, name in enumerate(names)
    ]
    layout: dict[str, Any] = _axes("share of weights removed", "perplexity on held-out text") | {"height": 380}
    layout["xaxis"] |= {"tickformat": ".0%"}
    layout["yaxis"] |= {"type": "log"}
    layout["shapes"] = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": dense, "y1": dense, "line": {"dash": "dot"}}
    ]
    caption = "Lower is better; the dotted line is the model before pruning."
    return Figure("What pruning costs", caption, {"data": data, "layout": layout})


def grades(name: str, rows: Sequence[Sequence[float]]) -> Figure:
    """Likeness of patterns against people's grades, each pair a point."""
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [row[0] for row in rows],
            "y": [row[1] for row in rows],
            "marker": {"color": "series-1", "size": 6, "opacity": 0.6},
            "hovertemplate": "grade %{x}, likeness %{y:.3f}",
        }
    ]
    layout: dict[str, Any] = _axes("grade that people gave", "likeness of the patterns") | {"height": 360}
    return Figure(f"Likeness and grades, {name}", "Each point is a pair of sentences.", {"data": data, "layout": layout})


def experts(name: str, rows: Sequence[Row]) -> Figure:
    """Tokens by layer and expert, as a heat map; experts never hit are blank."""
    routed = [row for row in rows if row["expert"] is not None]
    layers = sorted({row["layer"] for row in routed})
    numbers = sorted({row["expert"] for row in routed})
    cell = {(row["layer"], row["expert"]): row["conditional"] for row in routed}
    data = [
        {
            "type": "heatmap",
            "x": numbers,
            "y": [f"layer {layer + 1}" for layer in layers],
            "z": [[cell[layer, expert] for expert in numbers] for layer in layers],
            "hovertemplate": "%{y}, expert %{x}: %{z:.2e}",
        }
    ]
    layout: dict[str, Any] = _axes("expert", "") | {"height": 140 + 30 * len(layers)}
    caption = "Mean activation of an expert's weights over the texts that reached it. A blank expert was never reached."
    return Figure(f"Experts, {name}", caption, {"data": data, "layout": layout})


def _axes(x: str, y: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
