"""The tables of a run's page, as plain records; the figures are in `charts`."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Table
from tenfold.systems.deepeval.items import LETTERS

Row = Mapping[str, Any]
SHOWN_BLOCKS = 3
NOTHING = "–"


def percent(share: float | None) -> str:
    """A share as text, `61.7 %`; a dash where there is none."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def _named(line: Row) -> str:
    return f"{line['model']}, {line['task']}, {line['arm']}"


def results_table(results: Sequence[Row]) -> Table:
    """All accuracies with what stands beside them."""
    columns = ["Model, task, arm", "Questions", "Right", "95 % interval", "Whole blocks right", "Spread of prompts"]
    columns += ["Shared words alone", "p against them"]
    return Table("The results in numbers", "A dash marks what does not apply.", columns, [_cells(line) for line in results])


def _cells(line: Row) -> list[str]:
    low, high = line["accuracy_ci"]
    over = line.get("over_word_overlap")
    return [
        _named(line),
        str(line["n"]),
        percent(line["accuracy"]),
        f"{percent(low)} to {percent(high)}",
        percent(line["block_accuracy"]),
        percent(line["prompt_sd"]),
        percent(line.get("word_overlap")),
        f"{over['p']:.2g}" if over else NOTHING,
    ]


def states_table(results: Sequence[Row]) -> Table | None:
    """How answers were read; None where every answer was a clear choice."""
    names = sorted({state for result in results for state in result["states"]})
    if names == ["ok"]:
        return None
    counts = [[_named(line), *(str(line["states"].get(name, 0)) for name in names)] for line in results]
    rows = [[*cells, percent(line.get("accuracy_parsed"))] for cells, line in zip(counts, results, strict=True)]
    caption = "Only `ok` can be right. `letter_unranked` and `apparatus` are failures around the model and are not scored."
    return Table("How the answers could be read", caption, ["Model, task, arm", *names, "Right among ok"], rows)


def hierarchy_table(lines: Sequence[Row]) -> Table | None:
    """The deeper task given the shallower one."""
    if not lines:
        return None
    rows = [
        [
            f"{line['model']}, {line['arm']}",
            f"{line['then']} given {line['given']}",
            str(line["n"]),
            *(percent(line[name]["accuracy"] if line[name] else None) for name in ("if_right", "if_wrong")),
        ]
        for line in lines
    ]
    columns = ["Model, arm", "Task", "Pictures", "Right if the other is right", "Right if the other is wrong"]
    return Table("Does one level build on the other?", "How often a picture's deeper question is right.", columns, rows)


def facets_table(lines: Sequence[Row]) -> Table | None:
    """Accuracy by facet; no number where the facet has few questions."""
    if not lines:
        return None
    caption = "No number below 20 questions. The p value is Holm's over the facets of one row of results."
    columns = ["Facet", "Model, task, arm", "Questions", "Right", "Points above the rest", "p"]
    return Table("By facet", caption, columns, [_facet_cells(line) for line in lines])


def _facet_cells(line: Row) -> list[str]:
    p = f"{line['p_holm']:.2g}" if "p_holm" in line else NOTHING
    return [line["facet"], _named(line), str(line["n"]), percent(line.get("accuracy")), _points(line.get("against_rest")), p]


def comparisons_table(pairs: Sequence[Row]) -> Table | None:
    """Models against each other."""
    if not pairs:
        return None
    caption = "Points of difference on the same questions; p after Holm."
    columns = ["Models", "Task, arm", "Questions", "Points", "p"]
    return Table("Models against each other", caption, columns, [_pair_cells(pair) for pair in pairs])


def _pair_cells(pair: Row) -> list[str]:
    names, where = " less ".join(pair["models"]), f"{pair['task']}, {pair['arm']}"
    return [names, where, str(pair["n"]), _points(pair["difference"]), f"{pair['p_holm']:.2g}"]


def _points(difference: float | None) -> str:
    return NOTHING if difference is None else f"{100 * difference:+.1f}"


def questions_table(rows: Sequence[Row]) -> Table | None:
    """The questions of the first blocks: the right text, and what each model chose under each arm."""
    texts = {row["key"].removeprefix("question/"): row["options"] for row in rows if row.get("kind") == "question"}
    answers = [row for row in rows if row.get("kind") == "answer" and row["item"] in texts]
    columns = list(dict.fromkeys((row["model"], row["arm"]) for row in answers))
    answer_of = {(row["item"], row["model"], row["arm"]): row for row in answers}
    lines = [
        [item, _shortened(texts[item][gold]), *(_choice(answer_of.get((item, *column)), texts[item]) for column in columns)]
        for item, gold in _first_items(answers)
    ]
    if not lines:
        return None
    heads = ["Question", "Right text", *(f"{model}, {arm}" for model, arm in columns)]
    caption = "The first blocks; the four questions of a block share their texts. A star marks a right choice."
    return Table("Single questions", caption, heads, lines)


def _first_items(answers: Sequence[Row]) -> list[tuple[str, int]]:
    """Questions of the first blocks of each task, with the index of the right option."""
    found = {row["item"]: (row["task"], row["block"] or row["item"], row["gold"]) for row in answers}
    blocks: dict[str, dict[str, None]] = {}
    for task, block, _ in found.values():
        blocks.setdefault(task, {})[block] = None
    kept = {block for of_task in blocks.values() for block in list(of_task)[:SHOWN_BLOCKS]}
    return [(item, gold) for item, (_, block, gold) in found.items() if block in kept]


def _choice(row: Row | None, options: Sequence[str]) -> str:
    if row is None:
        return NOTHING
    reading = row["readings"][0]
    if reading["pick"] is None:
        return f"({reading['state']})"
    pick: int = reading["pick"]
    return f"{LETTERS[pick]} {_shortened(options[pick])}{' ★' if pick == row['gold'] else ''}"


def _shortened(text: str, limit: int = 70) -> str:
    tidy = " ".join(text.split())
    return tidy if len(tidy) <= limit else f"{tidy[: limit - 1].rstrip()}…"
