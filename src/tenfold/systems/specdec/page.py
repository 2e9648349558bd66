"""A Spec-Bench run as a page of the report: rows and metrics come in; words, figures and a table go out.

Only what was measured is said: a baseline that did not run or an interval that was not computed is left out. A changed
text, a failed prompt and a busy machine are said in the verdict itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tenfold.core.records import ColouredText, Figure, Page, Span, Table

Row = Mapping[str, Any]
Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Look:
    """How one method is called and drawn in every figure; the colour is one of the report's own."""

    name: str
    colour: str
    symbol: str
    hatch: str = ""

    @property
    def in_float32(self) -> "Look":
        return Look(f"{self.name}, float32", self.colour, f"{self.symbol}-open", "/")


OURS = {"tenfold": Look("Tenfold", "series-1", "circle")}
TRANSFORMERS = {
    "transformers": Look("Transformers", "series-2", "square"),
    "transformers-pld": Look("Transformers with prompt lookup", "series-3", "diamond"),
    "transformers-pld3": Look("Transformers with prompt lookup by threes", "series-4", "cross"),
}
PLAIN = {"greedy": Look("Tenfold without guessing", "series-6", "triangle-up")}
FLOAT32 = {f"{name}-fp32": look.in_float32 for name, look in TRANSFORMERS.items()}
METHODS = OURS | TRANSFORMERS | PLAIN | FLOAT32
"""Every method that a run may time, the most telling baseline first."""

TASKS = {
    "mt_bench": "Conversation",
    "translation": "Translation",
    "summarization": "Summarization",
    "qa": "Question answering",
    "math_reasoning": "Mathematics",
    "rag": "Retrieval",
}
PROMPTS_OF = {"demo": " of our own, made after Spec-Bench's,", "specbench": " of Spec-Bench"}

MOST_CONTENTION = 0.15
"""The share of the machine that other programs may take before a timing proves nothing."""
FEW_PROMPTS = 100
"""Below this many prompts the order of the tasks is not settled."""


def build(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run; `rows` are those of results.jsonl, one per prompt, failed ones included."""
    answered = [row for row in rows if "failure" not in row]
    title = "Speed: speculative decoding"
    if not answered:
        return Page(title, "No prompt was answered, so there is nothing to say about speed.", [])
    figures = [_seconds(answered), _speedups(metrics), _acceptance(metrics)]
    exhibits = [*figures, _drafted_text(answered), _task_table(answered, metrics)]
    return Page(
        title,
        verdict=_verdict(answered, metrics, num_failed=len(rows) - len(answered)),
        story=[
            _speculation(metrics),
            _comparison(answered, metrics),
            _identity(answered, metrics),
            _limits(answered, metrics),
        ],
        facts=_facts(answered, metrics),
        exhibits=[exhibit for exhibit in exhibits if exhibit is not None],
    )


def _verdict(rows: Sequence[Row], metrics: Metrics, *, num_failed: int) -> str:
    prompts = f"{len(rows)} of {len(rows) + num_failed} prompts" if num_failed else _count(len(rows), "prompt")
    busy = ", on a machine so busy with other programs that the times prove nothing" if _is_contended(metrics) else ""
    num_changed = len(rows) - _num_identical(rows)
    changed = f"; but {_count(num_changed, 'text')} came out different from plain decoding" if num_changed else ""
    return f"{metrics['model']} answered {prompts} {_speed(metrics)}{busy}{changed or ', and not one token changed'}."


def _speed(metrics: Metrics) -> str:
    if not (baselines := _baselines(metrics)):
        return "with no baseline to compare with"
    speedup, name = metrics[_speedup_key(baselines[0])], METHODS[baselines[0]].name
    return f"{speedup:.1f} times as fast as {name}" if speedup >= 1 else f"at only {speedup:.2f} times the speed of {name}"


def _speculation(metrics: Metrics) -> str:
    ngram = (
        " The drafter here is a simple one: it looks for the last place in the prompt or the answer where the same few"
        " tokens stood, and proposes what followed them there."
    )
    return (
        "A language model writes one token, a word or a part of one, at a time, and each costs a pass through the whole"
        " model. Most of a pass goes into fetching the model's weights from memory, so checking several tokens at once"
        " costs little more than writing one. Speculative decoding uses this: a cheap drafter guesses the next few"
        " tokens, the model checks all guesses in one pass and keeps those that it would have written itself. At the"
        " first wrong guess its own token counts instead, and the round begins anew."
        f"{ngram if metrics.get('drafter') == 'ngram' else ''}"
    )


def _comparison(rows: Sequence[Row], metrics: Metrics) -> str:
    prompts = f"The model answered {_count(len(rows), 'prompt')}{PROMPTS_OF.get(metrics.get('data', ''), '')}"
    if not (baselines := _baselines(metrics)):
        return f"{prompts} with Tenfold only; no other method was timed."
    methods = _listed(["Tenfold", *(METHODS[method].name for method in baselines)])
    interval = "; the range behind it is its 95% confidence interval" if _has_interval(metrics) else ""
    lookup = " Prompt lookup is Transformers' own form of guessing." if any("pld" in method for method in baselines) else ""
    return (
        f"{prompts} with each method in turn: {methods}.{lookup} The speed-up on a prompt is the baseline's time per token"
        " divided by ours, the reading of the prompt included; for several prompts we give the geometric mean"
        f"{interval}."
    )


def _identity(rows: Sequence[Row], metrics: Metrics) -> str:
    same = _num_identical(rows)
    reason = (
        " This is by construction and not by luck: the engine adds up its numbers in the same order however many tokens a"
        " pass checks, so that even the last bit of every result is the same."
    )
    fault = " A text that differs is a fault until it is explained: do not rely on the speed-up before."
    explanation = fault if same < len(rows) else reason if metrics.get("exactness") == "bit" else ""
    return (
        "Identical means: the same tokens, from the first to the last, as the same engine writes to the same prompt when"
        f" nothing is guessed. Both were run and compared token by token; {same} of {len(rows)} agree."
        f"{explanation}{_agreement_with_transformers(rows)}"
    )


def _agreement_with_transformers(rows: Sequence[Row]) -> str:
    methods = [row["methods"] for row in rows if "transformers" in row["methods"]]
    if not methods:
        return ""
    same = sum(of["tenfold"]["text"] == of["transformers"]["text"] for of in methods)
    tie = "; where two tokens are nearly tied its rounding can tip the choice, and the texts part from there"
    return (
        f" Transformers, another program, wrote {same} of {len(methods)} texts the same{tie if same < len(methods) else ''}."
    )


def _limits(rows: Sequence[Row], metrics: Metrics) -> str:
    text = (
        "What this does not show: how good the answers are, for they are the model's own either way; nor what happens"
        " with other models, longer answers, random sampling, many requests at once, or on another machine. The gain"
        " depends on the text, too: answers that repeat their prompt gain most, free writing least."
    )
    if len(rows) < FEW_PROMPTS:
        text += f" This run is small ({_count(len(rows), 'prompt')}): with more, the order of the tasks may change."
    if _is_contended(metrics):
        share = f"{metrics['contention']:.0%}"
        text += f" Other programs took {share} of the machine, so measure the times again; identity stands as it is."
    return text


def _facts(rows: Sequence[Row], metrics: Metrics) -> dict[str, str]:
    facts = {f"Speed-up over {METHODS[method].name}": _speedup(metrics, method) for method in _baselines(metrics)}
    facts["Texts identical to plain decoding"] = f"{_num_identical(rows)} of {len(rows)}"
    if (accepted := metrics.get("mean_accepted_tokens")) is not None:
        facts["Tokens per pass of the model"] = f"{accepted:.2f}"
    if rate := metrics.get("tokens_per_second", {}).get("tenfold"):
        facts["Tokens per second"] = f"{rate:.0f}"
    if threads := metrics.get("threads"):
        facts["Processor threads"] = str(threads)
    if (contention := metrics.get("contention")) is not None:
        facts["Machine taken by other programs"] = f"{contention:.0%}"
    return facts


def _seconds(rows: Sequence[Row]) -> Figure:
    methods = [method for method in METHODS if any(method in row["methods"] for row in rows)]
    num_tasks = len({row["subtask"] for row in rows})
    layout = _layout("seconds per prompt", num_tasks, len(methods)) | {"barmode": "group"}
    data = [trace for method in methods for trace in _bar_and_dots(rows, method)]
    caption = "The bar is the mean over the prompts of a task, each mark on it one prompt; shorter is faster."
    return Figure("How long a prompt takes", caption, {"data": data, "layout": layout})


def _bar_and_dots(rows: Sequence[Row], method: str) -> list[dict[str, Any]]:
    timed = [(_task_name(row["subtask"]), row["methods"][method]["seconds"]) for row in rows if method in row["methods"]]
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


def _speedups(metrics: Metrics) -> Figure | None:
    if not (baselines := _baselines(metrics)):
        return None
    groups = {_task_name(task): values for task, values in metrics.get("per_task", {}).items()} | {"All tasks": metrics}
    as_fast = {"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dot"}}
    layout = _layout("times as fast", len(groups), len(baselines)) | {"shapes": [as_fast]}
    interval = " The line through a mark is its 95% confidence interval." if _has_interval(metrics) else ""
    caption = f"Right of the dotted line at 1, Tenfold is the faster one.{interval}"
    data = [_speedup_marks(groups, method) for method in baselines]
    return Figure("How much faster, task by task", caption, {"data": data, "layout": layout})


def _speedup_marks(groups: Mapping[str, Metrics], method: str) -> dict[str, Any]:
    key, look = _speedup_key(method), METHODS[method]
    known = {name: values for name, values in groups.items() if values.get(key) is not None}
    speedups = [values[key] for values in known.values()]
    intervals = [_interval(values, method) or (values[key], values[key]) for values in known.values()]
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


def _acceptance(metrics: Metrics) -> Figure | None:
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


def _drafted_text(rows: Sequence[Row]) -> ColouredText | None:
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
        f"Prompt {row['key']} ({_task_name(row['subtask'])}): the middle one of all, ordered by how much was guessed.",
        spans,
        legend | {"model": "wrote this itself, one token a pass"},
    )


def _guessed_share(row: Row) -> float:
    guessed = sum(len(text) for text, source in row["spans"] if source != "target")
    return guessed / max(1, sum(len(text) for text, _ in row["spans"]))


def _writer(source: str) -> str:
    """The source of a token in plain words: `target` is the model, `ngram-3` the ngram drafter with a match of 3."""
    return "model" if source == "target" else f"{source.rstrip('-0123456789')} drafter"


def _task_table(rows: Sequence[Row], metrics: Metrics) -> Table | None:
    if not (per_task := metrics.get("per_task")):
        return None
    baselines = _baselines(metrics)
    columns = [
        "Task",
        "Prompts",
        *(f"Speed-up over {METHODS[method].name}" for method in baselines),
        "Tokens per pass",
        "Identical",
    ]
    cells = [_task_cells(task, values, baselines, rows) for task, values in per_task.items()]
    return Table("The tasks in numbers", "A dash marks what was not measured.", columns, cells)


def _task_cells(task: str, values: Metrics, baselines: Sequence[str], rows: Sequence[Row]) -> list[str]:
    mine = [row for row in rows if row["subtask"] == task]
    accepted = values.get("mean_accepted_tokens")
    tokens_per_pass = "–" if accepted is None else f"{accepted:.2f}"
    speedups = [_speedup(values, method) for method in baselines]
    return [_task_name(task), str(len(mine)), *speedups, tokens_per_pass, f"{_num_identical(mine)} of {len(mine)}"]


def _baselines(metrics: Metrics) -> list[str]:
    return [method for method in METHODS if metrics.get(_speedup_key(method)) is not None]


def _speedup_key(method: str) -> str:
    return f"speedup_vs_{method.replace('-', '_')}"


def _speedup(metrics: Metrics, method: str) -> str:
    speedup, interval = metrics.get(_speedup_key(method)), _interval(metrics, method)
    if speedup is None:
        return "–"
    return f"{speedup:.1f}×" + (f" ({interval[0]:.1f}–{interval[1]:.1f})" if interval else "")


def _interval(metrics: Metrics, method: str) -> tuple[float, float] | None:
    """The interval of a speed-up; None if there is none, or none of any width, as resampling a single prompt gives it."""
    low, high = metrics.get(f"{_speedup_key(method)}_ci") or (0.0, 0.0)
    return (low, high) if low < high else None


def _has_interval(metrics: Metrics) -> bool:
    return any(_interval(metrics, method) for method in _baselines(metrics))


def _is_contended(metrics: Metrics) -> bool:
    return (metrics.get("contention") or 0) > MOST_CONTENTION


def _num_identical(rows: Sequence[Row]) -> int:
    return sum(row["identical"] for row in rows)


def _task_name(task: str) -> str:
    return TASKS.get(task, task.replace("_", " ").capitalize())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(items: Sequence[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}"
