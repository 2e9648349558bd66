"""An analysis of a mixture as a page of the report: rows and metrics come in; words, figures and tables go out."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure, Metrics, Page, Table
from tenfold.systems.moe import charts
from tenfold.systems.moe.analyses import INTACT
from tenfold.systems.moe.page import IDEA, TITLE

Row = Mapping[str, Any]
MOST_SHOWN = 128
"""A co-activation of more experts than this is too fine to see."""


def build(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `analyse`."""
    by_key = {row["key"]: row for row in rows}
    found = [exhibit for name, row in by_key.items() for exhibit in _exhibits(name, row)]
    return Page(
        TITLE,
        verdict=_verdict(metrics),
        story=[
            IDEA,
            "If experts are specialised, losing the ones that a token likes best hurts, and text of one kind prefers some"
            " of them. Small samples look specialised by chance; so each figure stands beside that of shuffled classes.",
            f"Measured on {metrics['tokens']:,} tokens of {metrics['documents']} documents, intervals over documents.",
        ],
        facts=_facts(metrics["analyses"]),
        exhibits=found,
    )


def _verdict(metrics: Metrics) -> str:
    who = f"{metrics['experts']} routed experts, {metrics['chosen']} chosen, {metrics['shared']} shared"
    analyses = metrics["analyses"]
    if "vocabulary" in analyses and "domain" in analyses:
        token, domain = (analyses["vocabulary"]["input"], analyses["domain"])
        return (
            f"In this mixture ({who}) a token's favourite expert has {token['specialisation']:.2f} times an even share "
            f"({token['specialisation_null']:.2f} by chance), a domain's {domain['specialisation']:.2f} times "
            f"({domain['specialisation_null']:.2f} by chance)."
        )
    return f"A mixture of {who} was analysed: {', '.join(analyses)}."


def _facts(analyses: Mapping[str, Any]) -> dict[str, str]:
    facts = {}
    if "loads" in analyses:
        facts["Busiest expert"] = f"{1 + analyses['loads']['max_violation']:.2f} times the mean load"
        facts["Dead experts"] = str(analyses["loads"]["dead"])
    if "shared_swap" in analyses:
        facts["Loss added without the shared experts"] = f"{analyses['shared_swap']['without shared']['added']:+.3f}"
    if "disable_top" in analyses:
        last = [name for name in analyses["disable_top"] if not name.endswith("random")][-1]
        facts[f"Loss added without the top {float(last):.0%} of experts"] = f"{analyses['disable_top'][last]['added']:+.3f}"
    return facts


def _exhibits(name: str, row: Row) -> list[Figure | Table]:
    match name:
        case "loads":
            caption = "Share of the choices of held-out text; each row is a layer."
            names = [f"layer {number}" for number in range(len(row["shares"]))]
            return [charts.heat(row["shares"], names, "Loads of the experts", caption, ("expert", ""))]
        case "disable_top":
            return [_disabled(row["conditions"])]
        case "fewer_k":
            return [_fewer(row["conditions"])]
        case "shared_swap":
            return [_conditions("Without the shared, and without the routed experts", row["conditions"])]
        case "domain":
            return [_domains(row), _layers("Domains, layer by layer", {"domain": row})]
        case "vocabulary":
            return [_layers("Tokens, layer by layer", {"input token": row["input"], "token to come": row["output"]})]
        case "coactivation" if len(row["matrix"]) <= MOST_SHOWN:
            caption = f"P(column chosen, given row), layer {row['layer']}; by chance {row['expected']:.0%}."
            names = [str(number) for number in range(len(row["matrix"]))]
            return [charts.heat(row["matrix"], names, "Experts chosen together", caption, ("expert", "given expert"))]
        case "saturation":
            overlap = {f"layer {place}": dict(zip(row["overlap"], values, strict=True)) for place, values in _by_layer(row)}
            caption = f"Share of the final choices that were made already; chance is {row['chance']:.0%}."
            return [charts.lines(overlap, "How early choices settle", caption, ("checkpoint", "share"))]
    return []


def _disabled(conditions: Mapping[str, Row]) -> Figure:
    top = {"0": conditions[INTACT]["loss"]} | {
        name: each["loss"] for name, each in conditions.items() if name != INTACT and not name.endswith("random")
    }
    control = {"0": conditions[INTACT]["loss"]} | {
        name.split(",")[0]: each["loss"] for name, each in conditions.items() if name.endswith("random")
    }
    caption = "The steeper the upper line beside the lower one, the less other experts can stand in for a token's own."
    axes = ("share of routed experts disabled", "nats per token")
    named = {"each token's favourites": top, "as many at random": control}
    return charts.lines(named, "Without each token's favourite experts", caption, axes)


def _fewer(conditions: Mapping[str, Row]) -> Figure:
    values = {name: each["loss"] for name, each in conditions.items() if name != INTACT} | {
        "all": conditions[INTACT]["loss"]
    }
    caption = "The same model, with only the first of each token's experts."
    return charts.lines({"loss": values}, "With fewer experts per token", caption, ("experts", "nats per token"))


def _conditions(title: str, conditions: Mapping[str, Row]) -> Table:
    rows = [
        [name, f"{each['loss']:.4f}", f"{each['added']:+.4f} ({each['ci'][0]:+.4f} to {each['ci'][1]:+.4f})"]
        for name, each in conditions.items()
    ]
    return Table(
        title, "Without the shared ones, as many routed experts more are chosen.", ["condition", "loss", "added"], rows
    )


def _domains(row: Row) -> Figure:
    caption = f"1 is an even share; layer {row['layer']}."
    return charts.heat(row["preference"], row["domains"], "Which experts a domain prefers", caption, ("expert", ""))


def _layers(title: str, named: Mapping[str, Row]) -> Figure:
    lines = {}
    for name, row in named.items():
        for key, told in (("specialisation", name), ("specialisation_null", f"{name}, shuffled")):
            lines[told] = {str(layer): value for layer, value in enumerate(row[key])}
    caption = "Share of the favourite expert, over an even share; the shuffled line is what chance alone gives."
    return charts.lines(lines, title, caption, ("mixture layer", "times an even share"))


def _by_layer(row: Row) -> list[tuple[int, list[float]]]:
    columns = list(zip(*row["overlap"].values(), strict=True))
    shown = sorted({0, len(columns) // 2, len(columns) - 1})
    return [(place, list(columns[place])) for place in shown]
