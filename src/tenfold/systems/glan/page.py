"""A run of `generate` as a page of the report: the coverage map, and what the gates stopped. Rows and metrics come in."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure, Metrics, Page, Table

Row = Mapping[str, Any]
PALE, STRONG = "#dbe7f3", "#1f5f9e"
"""None and all of the key concepts in use; Plotly's own scale would paint what is complete red."""


def build(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run, or of a dry run."""
    if metrics.get("dry_run"):
        return _estimated(metrics)
    if "batch" in metrics:
        return _batched(metrics)
    return Page(
        title="Teach: instruction data from a taxonomy",
        verdict=f"{metrics['accepted']} of {metrics['pairs']} pairs pass the gates ({metrics['disciplines']} disciplines).",
        story=_story(metrics),
        facts=_facts(metrics),
        exhibits=[*([_map(rows)] if rows else []), _disciplines(rows), _losses(metrics)],
    )


def _estimated(metrics: Metrics) -> Page:
    number = metrics["prompt_tokens"] + metrics["completion_tokens"]
    measured = ", ".join(metrics["measured_kinds"]) or "none"
    return Page(
        title="Teach: what it would cost",
        verdict=f"{metrics['calls']:,} calls and about {number:,} tokens are still to be asked.",
        story=[f"Tokens of these kinds of calls were measured on earlier ones: {measured}. The others are typical values."],
        facts={kind: f"{calls:,}" for kind, calls in metrics["calls_by_kind"].items()},
    )


def _batched(metrics: Metrics) -> Page:
    return Page(
        title="Teach: a batch for a provider",
        verdict=f"{metrics['batch']:,} calls are in {metrics['batch_file']}; nothing was sent.",
        story=["Send the file, then give its results with --batch-in; the next step of the tree follows from them."],
        facts={kind: f"{number:,}" for kind, number in metrics["kinds"].items()},
    )


def _story(metrics: Metrics) -> list[str]:
    story = [
        "A teacher lists the subjects of each discipline, writes a syllabus for each, and asks questions about one or two "
        "of its sessions. Key concepts are drawn so that none is forgotten and no combination comes twice.",
        "Every reply is in a ledger before it is used. A run that is killed goes on where it stopped, and no reply that is "
        "in the ledger is asked for again.",
    ]
    if metrics["stopped"]:
        story.append(f"The run stopped early: {metrics['stopped']}.")
    return story


def _facts(metrics: Metrics) -> dict[str, str]:
    return {
        "Pairs accepted": f"{metrics['accepted']} of {metrics['pairs']}",
        "Sessions used": _share(metrics["session_coverage"]),
        "Key concepts used": _share(metrics["concept_coverage"]),
        "Calls": f"{metrics['calls']:,}",
        "Tokens": f"{metrics['prompt_tokens'] + metrics['completion_tokens']:,}",
    }


def _map(rows: Sequence[Row]) -> Figure:
    """Fields, branches and disciplines as nested tiles: area is pairs, colour the share of key concepts in use."""
    tiles = _tiles(rows)
    trace = {
        "type": "treemap",
        "ids": list(tiles),
        "labels": [path.rpartition(" > ")[2] for path in tiles],
        "parents": [path.rpartition(" > ")[0] for path in tiles],
        "values": [tile["pairs"] for tile in tiles.values()],
        "branchvalues": "total",
        "marker": {
            "colors": [tile["used"] / tile["all"] if tile["all"] else 0 for tile in tiles.values()],
            "cmin": 0,
            "cmax": 1,
            "colorscale": [[0, PALE], [1, STRONG]],
            "showscale": True,
            "colorbar": {"tickformat": ".0%", "title": {"text": "concepts used"}},
        },
    }
    caption = "Area: pairs. Colour: share of the key concepts of its syllabi that a pair is about."
    return Figure("Coverage map", caption, {"data": [trace], "layout": {"height": 420}})


def _tiles(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Sums for every node on the way to a discipline."""
    tiles: dict[str, dict[str, int]] = {}
    for row in rows:
        parts = row["key"].split(" > ")
        for depth in range(1, len(parts) + 1):
            tile = tiles.setdefault(" > ".join(parts[:depth]), {"pairs": 0, "used": 0, "all": 0})
            tile["pairs"] += row["pairs"]
            tile["used"] += row["concepts_used"]
            tile["all"] += row["concepts"]
    return tiles


def _disciplines(rows: Sequence[Row]) -> Table:
    names = ("subjects", "syllabi", "sessions", "sessions_used", "concepts", "concepts_used", "wanted", "replaced", "pairs")
    return Table(
        title="Discipline by discipline",
        caption="What the teacher's replies were read as; wanted is the number of questions asked for.",
        columns=["discipline", *(name.replace("_", " ") for name in names)],
        rows=[[row["key"].rpartition(" > ")[2], *(str(row[name]) for name in names)] for row in rows],
    )


def _losses(metrics: Metrics) -> Table:
    titles = {"gates": "gate", "unread": "reply that cannot be read", "missing": "no reply", "failed": "failure"}
    rows = [[f"{title}: {key}", str(n)] for name, title in titles.items() for key, n in metrics[name].items()]
    return Table("What was lost, and why", "Reasons are kept with every pair and call.", ["reason", "number"], rows)


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0%}"
