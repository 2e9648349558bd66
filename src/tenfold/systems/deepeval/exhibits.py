"""The pages of `audit` and `repair`: how far rules get without the picture, before and after."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure, Metrics, Page, Table

CHANCE, PUBLISHED = "#8a8a8a", "#c2452d"
COLOURS = ("#3b6fb6", "#d98a2b", "#4f9a63")
MOST_RULES = 9
WHAT_A_RULE_IS = (
    "A blind rule never sees the picture. It picks an option by its looks: the shortest, the one without a space in front,"
    " the one that occurs least often in the file, or what a simple learner makes of its words. Where such a rule is right"
    " more often than one time in four, the questions give their answers away."
)


def audit_page(rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The page of an audit."""
    tasks = metrics["tasks"]
    return Page(
        "See: can it be solved without looking?",
        f"{metrics['verdict'][0].upper()}{metrics['verdict'][1:]}.",
        [WHAT_A_RULE_IS, _story(tasks)],
        {
            f"Best blind rule, {task}": f"{of['strongest_accuracy']:.1%} ({of['strongest_probe']})"
            for task, of in tasks.items()
        },
        [_rules(tasks), *_worst(tasks)],
    )


def _story(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    beaten = [task for task, of in tasks.items() if of.get("beats_best_open_model")]
    if beaten:
        return (
            f"On {', '.join(beaten)} a rule without eyes does better than the best open model that the paper reports. So a"
            " high score there need not come from understanding the picture. `repair` makes questions from the same texts"
            " that no such rule can solve."
        )
    won = [task for task, of in tasks.items() if of["beats_chance"]]
    return f"A rule beats chance on: {', '.join(won)}." if won else "No rule beats chance on these questions."


def _rules(tasks: Mapping[str, Mapping[str, Any]]) -> Figure:
    first = next(iter(tasks.values()))
    names = sorted(first["probes"], key=lambda name: -max(of["probes"][name]["accuracy"] for of in tasks.values()))[
        :MOST_RULES
    ]
    data: list[dict[str, Any]] = [
        _bars(task, of, names, colour) for (task, of), colour in zip(tasks.items(), COLOURS * 9, strict=False)
    ]
    data += [_published(task, of, names) for task, of in tasks.items() if "best_open_model" in of][:1]
    caption = (
        "Share of questions that each rule gets right. The dotted line is chance; a thin line on a bar is its 95 % interval."
    )
    return Figure(
        "Rules that do not look", caption, {"data": data, "layout": _layout(len(names), len(tasks), first["chance"])}
    )


def _bars(task: str, of: Mapping[str, Any], names: Sequence[str], colour: str) -> dict[str, Any]:
    probes = [of["probes"][name] for name in names]
    values = [probe["accuracy"] for probe in probes]
    label = f"{task} (best open model {of['best_open_model']:.0%})" if "best_open_model" in of else task
    return {
        "type": "bar",
        "orientation": "h",
        "name": label,
        "x": values,
        "y": list(names),
        "marker": {"color": colour},
        "error_x": {
            "symmetric": False,
            "array": [probe["interval"][1] - probe["accuracy"] for probe in probes],
            "arrayminus": [probe["accuracy"] - probe["interval"][0] for probe in probes],
            "thickness": 1,
            "width": 0,
        },
        "hovertemplate": "%{y}: %{x:.1%}",
    }


def _published(task: str, of: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The best open model of the first task, as a line through all rules."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"best open model in the paper, {task}",
        "x": [of["best_open_model"]] * len(names),
        "y": list(names),
        "line": {"color": PUBLISHED, "dash": "dash"},
        "hoverinfo": "skip",
    }


def _layout(num_groups: int, num_bars: int, chance: float) -> dict[str, Any]:
    line = {"type": "line", "x0": chance, "x1": chance, "y0": 0, "y1": 1, "yref": "paper"}
    return {
        "barmode": "group",
        "height": 160 + num_groups * (18 + 13 * num_bars),
        "xaxis": {"title": {"text": "right answers"}, "tickformat": ".0%", "range": [0, 1.02]},
        "yaxis": {"autorange": "reversed", "automargin": True},
        "shapes": [line | {"line": {"dash": "dot", "color": CHANCE}}],
    }


def _worst(tasks: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    cells = [
        [item["id"], f"{item['probes_right']:.0%}", item["gold"]]
        for of in tasks.values()
        for item in of["worst"][:3]
        if item["probes_right"] > of["chance"] * 2
    ]
    caption = "For each, the share of rules that get it right, and the right answer itself."
    return (
        [Table("Questions that give most away", caption, ["Question", "Rules right", "Right answer"], cells)]
        if cells
        else []
    )


def repair_page(rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The page of a repair."""
    blocks = metrics["blocks"]
    total = sum(blocks.values())
    return Page(
        "See: questions that need the picture",
        f"On {total} blocks of four, all {metrics['num_probes']} blind rules are right exactly one time in four.",
        [
            "Four pictures share the same four options in the same order, and each option is right for one of the four."
            " Whoever does not look reads the same question four times, answers the same four times, and is right once."
            " This holds for every rule, also for one trained on these very questions.",
            "To keep the questions hard, texts that are alike, but not so alike that both could be right, are brought into"
            " one block. The figure shows how alike the right answer and its distractors are before and after.",
        ],
        {
            "Blocks": ", ".join(f"{task} {number}" for task, number in blocks.items()),
            "Strongest blind rule": f"{metrics['strongest_probe']:.1%} exactly",
        },
        [_alike(metrics["mean_cosine"]), _repair_table(metrics)],
    )


def _alike(cosines: Mapping[str, Mapping[str, float]]) -> Figure:
    data = [
        {
            "type": "bar",
            "name": name,
            "x": list(cosines),
            "y": [of[key] for of in cosines.values()],
            "marker": {"color": colour},
            "hovertemplate": "%{x}: %{y:.3f}",
        }
        for name, key, colour in (("released questions", "released", CHANCE), ("our blocks", "quads", COLOURS[0]))
    ]
    axis = {"title": {"text": "mean cosine of words"}, "rangemode": "tozero"}
    layout = {"barmode": "group", "height": 320, "yaxis": axis}
    caption = (
        "Higher is harder. The released distractors of descriptions are near-miss rewrites of the right one, and so alike;"
        " they can be told by their style instead."
    )
    return Figure("How alike the options are", caption, {"data": data, "layout": layout})


def _repair_table(metrics: Metrics) -> Table:
    cells = [
        [
            task,
            str(metrics["blocks"][task]),
            str(len(metrics["left_out"][task])),
            f"{max(metrics['probes'][task].values()):.1%}",
            f"{of['released']:.3f}",
            f"{of['quads']:.3f}",
            f"{metrics['max_cosine'][task]:.2f}",
        ]
        for task, of in metrics["mean_cosine"].items()
    ]
    columns = ["Task", "Blocks", "Left out", "Strongest blind rule", "Cosine, released", "Cosine, blocks", "Highest cosine"]
    return Table("The blocks in numbers", "Cosines are of the right option with its distractors.", columns, cells)
