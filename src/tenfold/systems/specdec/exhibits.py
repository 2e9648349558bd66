"""The figures, the coloured text and the table of a Spec-Bench page, as plain records."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tenfold.core.records import ColouredText, Figure, Span, Table
from tenfold.systems.specdec.labels import (
    METHODS,
    Metrics,
    Row,
    has_interval,
    interval_of,
    num_identical,
    speedup_key,
    speedup_text,
    task_name,
    timed_baselines,
)
from tenfold.systems.specdec.methods import OTHER_DRAFTER, OURS, PLAIN


def seconds(rows: Sequence[Row]) -> Figure:
    methods = [method for method in METHODS if any(method in row["methods"] for row in rows)]
    num_tasks = len({row["subtask"] for row in rows})
    layout = _layout("seconds per prompt", num_tasks, len(methods)) | {"barmode": "group"}
    data = [trace for method in methods for trace in _bar_and_dots(rows, method)]
    caption = "The bar is the mean over the prompts of a task, each mark on it one prompt; shorter is faster."
    return Figure("How long a prompt takes", caption, {"data": data, "layout": layout})


def _bar_and_dots(rows: Sequence[Row], method: str) -> list[dict[str, Any]]:
    timed = [(task_name(row["subtask"]), row["methods"][method]["seconds"]) for row in rows if method in row["methods"]]
    means = {name: fmean(seconds for task, seconds in timed if task == name) for name, _ in timed}
    look = METHODS[method]
    common = {"name": look.name, "offsetgroup": method, "legendgroup": method, "orientation": "h"}
    bar = {
        "type": "bar",
        "x": list(means.values()),
        "y": list(means),
        "marker": {"color": look.colour, "opacity": 0.5, "pattern": {"shape": look.hatch}},
        "hovertemplate": "%{y}, mean: %{x:.2f} s",
    }
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": [seconds for _, seconds in timed],
        "y": [task for task, _ in timed],
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 6},
        "hovertemplate": "%{y}, one prompt: %{x:.2f} s",
        "showlegend": False,
    }
    return [common | bar, common | dots]


def speedups(metrics: Metrics) -> Figure | None:
    if not (baselines := timed_baselines(metrics)):
        return None
    groups = {task_name(task): values for task, values in metrics.get("per_task", {}).items()} | {"All tasks": metrics}
    as_fast = {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dot"}}
    layout = _layout("times as fast", len(groups), len(baselines)) | {"shapes": [as_fast]}
    interval = " The line through a mark is its 95% confidence interval." if has_interval(metrics) else ""
    caption = f"Right of the dotted line at 1, Tenfold is the faster one.{interval}"
    data = [_speedup_marks(groups, method) for method in baselines]
    return Figure("How much faster, task by task", caption, {"data": data, "layout": layout})


def _speedup_marks(groups: Mapping[str, Metrics], method: str) -> dict[str, Any]:
    key, look = speedup_key(method), METHODS[method]
    known = {name: values for name, values in groups.items() if values.get(key) is not None}
    speedups = [values[key] for values in known.values()]
    intervals = [interval_of(values, method) or (values[key], values[key]) for values in known.values()]
    interval = {
        "symmetric": False,
        "array": [high - speedup for speedup, (_, high) in zip(speedups, intervals, strict=True)],
        "arrayminus": [speedup - low for speedup, (low, _) in zip(speedups, intervals, strict=True)],
    }
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"over {look.name}",
        "offsetgroup": method,
        "orientation": "h",
        "x": speedups,
        "y": list(known),
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 9},
        "error_x": interval | {"color": look.colour, "thickness": 1.5, "width": 0},
        "hovertemplate": "%{y}: %{x:.2f} times as fast",
    }


def _layout(quantity: str, num_groups: int, num_methods: int) -> dict[str, Any]:
    """Groups from top to bottom, the methods of each below one another, the quantity to the right from zero."""
    return {
        "height": 150 + num_groups * (24 + 18 * num_methods),
        "scattermode": "group",
        "xaxis": {"title": {"text": quantity}, "rangemode": "tozero"},
        "yaxis": {"autorange": "reversed"},
    }


def acceptance(metrics: Metrics) -> Figure | None:
    if not (acceptance := metrics.get("acceptance_by_position")):
        return None
    bars = {
        "type": "bar",
        "x": [str(position) for position in range(1, len(acceptance) + 1)],
        "y": acceptance,
        "texttemplate": "%{y:.0%}",
        "textposition": "outside",
        "textangle": 0,
        "constraintext": "none",
        "cliponaxis": False,
        "hovertemplate": "guess %{x}: %{y:.0%} kept",
    }
    layout = {
        "height": 300,
        "xaxis": {"title": {"text": "place of the guess in its draft"}, "type": "category"},
        "yaxis": {"title": {"text": "share kept"}, "tickformat": ".0%", "range": [0, 1.05]},
    }
    caption = "A guess is checked only if all guesses before it were right; of those checked, the share that the model kept."
    return Figure("How often a guess is right", caption, {"data": [bars], "layout": layout})


def drafted_text(rows: Sequence[Row]) -> ColouredText | None:
    """The answer whose guessed share is the median: a typical one, not the best."""
    candidates = sorted((row for row in rows if row.get("spans")), key=_guessed_share)
    if not candidates:
        return None
    row = candidates[len(candidates) // 2]
    spans = [Span(text, _writer(source)) for text, source in row["spans"]]
    legend = dict.fromkeys(
        ["model", *(span.source for span in spans)], "guessed this ahead; the model checked it and kept it"
    )
    return ColouredText(
        "Who wrote what in a typical answer",
        f"Prompt {row['key']} ({task_name(row['subtask'])}): the middle one of all, ordered by how much was guessed.",
        spans,
        legend | {"model": "wrote this itself, one token a pass"},
    )


def _guessed_share(row: Row) -> float:
    guessed = sum(len(text) for text, source in row["spans"] if source != "target")
    return guessed / max(1, sum(len(text) for text, _ in row["spans"]))


def _writer(source: str) -> str:
    """The source of a token in plain words: `target` is the model, `ngram-3` the ngram drafter with a match of 3."""
    return "model" if source == "target" else f"{source.rstrip('-0123456789')} drafter"


def task_table(rows: Sequence[Row], metrics: Metrics) -> Table | None:
    if not (per_task := metrics.get("per_task")):
        return None
    baselines = timed_baselines(metrics)
    columns = [
        "Task",
        "Prompts",
        *(f"Speed-up over {METHODS[method].name}" for method in baselines),
        "Tokens per pass",
        "Identical",
    ]
    cells = [_task_cells(task, values, baselines, rows) for task, values in per_task.items()]
    return Table("The tasks in numbers", "A dash marks what was not measured.", columns, cells)


def drafter_table(metrics: Metrics) -> Table | None:
    """The drafters of a run that timed several."""
    per_drafter: Metrics = metrics.get("per_drafter", {})
    if len(per_drafter) < 2:
        return None
    cells = []
    for method, values in per_drafter.items():
        drafter = metrics["drafter"] if method == OURS else method.removeprefix(OTHER_DRAFTER)
        speedup, accepted, same = speedup_text(values, PLAIN), values["mean_accepted_tokens"], values["identical_fraction"]
        cells.append([drafter, speedup, f"{accepted:.2f}", f"{same:.0%}"])
    columns = ["Drafter", "Speed-up over Tenfold without guessing", "Tokens per pass", "Identical"]
    return Table("Who guesses", "All drafters answered the same prompts in turn.", columns, cells)


def _task_cells(task: str, values: Metrics, baselines: Sequence[str], rows: Sequence[Row]) -> list[str]:
    mine = [row for row in rows if row["subtask"] == task]
    accepted = values.get("mean_accepted_tokens")
    tokens_per_pass = "–" if accepted is None else f"{accepted:.2f}"
    speedups = [speedup_text(values, method) for method in baselines]
    return [task_name(task), str(len(mine)), *speedups, tokens_per_pass, f"{num_identical(mine)} of {len(mine)}"]
