"""Runs of this home as pages of the report: rows and metrics come in; words, figures and tables go out.

Only what was measured is said, and the verdict says so where a mixture does not help. Analyses have `analysis_page`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure, Metrics, Page, Table
from tenfold.store.environment import is_contended
from tenfold.systems.moe import charts
from tenfold.systems.moe.modeling import SORTED

Row = Mapping[str, Any]
TITLE = "Build: DeepSeekMoE"
IDEA = (
    "A mixture of experts holds many small networks, its experts, and a router that sends each token through a few of them."
    " So the model can hold far more than it computes with for any one token. DeepSeekMoE cuts experts finely, so that each"
    " can specialise, and keeps a few shared ones that every token goes through."
)


def build_training(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `train`."""
    row = next(row for row in rows if row["key"] == "unit")
    exhibits = [_losses({"loss": row["training"]}), *_violations(row["loads"])]
    return Page(
        TITLE,
        verdict=(
            f"A {metrics['rung']} of {metrics['parameters'] / 1e6:.1f} M parameters,"
            f" {metrics['activated_parameters'] / 1e6:.1f} M of them active for a token, read {metrics['tokens']:,} tokens"
            f" and reached {metrics['loss']:.3f} nats per token on {metrics['held_out_documents']} held-out documents."
        ),
        story=[IDEA, "A lower loss says that text surprises the model less. What it would write is another question."],
        facts={"Held-out loss": f"{metrics['loss']:.4f}", **_balance_facts(metrics["balance"])},
        exhibits=exhibits,
    )


def build_ladder(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `ladder`."""
    rungs = metrics["rungs"]
    values = {each["title"]: (each["loss"], each["ci"]) for each in rungs.values()}
    caption = "The thin line is the 95% interval over documents and seeds. Further left is better."
    first = [row for row in rows if row.get("seed") == metrics["seeds"][0]]
    curves = {rungs[row["rung"]]["title"]: row["training"] for row in first}
    seeds = len(metrics["seeds"])
    return Page(
        TITLE,
        verdict=_ladder_verdict(metrics),
        story=[
            IDEA,
            f"All models read the same {metrics['tokens']:,} tokens in the same order, from {seeds} different starts. Hash, "
            "Switch, GShard and DeepSeekMoE have as many parameters as the dense model sixteen times as wide.",
            "What this does not show: larger models, more text. The paper's models read a hundred billion tokens.",
        ],
        facts={each["title"]: f"{each['loss']:.4f}" for each in rungs.values()},
        exhibits=[
            charts.bars(values, "Held-out loss", caption, "nats per token"),
            _losses(curves),
            _ladder_table(rungs),
            _differences_table(metrics["differences"]),
        ],
    )


def build_balance(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `balance`."""
    first = metrics["seeds"][0]
    violation = {row["method"]: [step["max_violation"] for step in row["loads"]] for row in rows if row["seed"] == first}
    methods = metrics["methods"]
    told = ", ".join(f"{name} {each['max_violation']:.2f}" for name, each in methods.items())
    columns = ["Balanced by", "Loss", "Loss added", "Worst MaxVio", "CV", "Dead experts"]
    cells = [
        [
            name,
            f"{each['loss']:.4f}",
            _signed(each["loss_added"], each["loss_added_ci"]) if "loss_added" in each else "–",
            f"{each['max_violation']:.3f}",
            f"{each['variation']:.3f}",
            str(each["dead"]),
        ]
        for name, each in methods.items()
    ]
    return Page(
        TITLE,
        verdict=f"How far the busiest expert of the worst layer is above the mean load, by way of balancing: {told}.",
        story=[
            IDEA,
            "A router left alone may send most tokens to few experts. A loss pulls loads together, at some cost to the text;"
            " a bias on the choice does it without a loss.",
        ],
        facts={f"{name}: worst MaxVio": f"{each['max_violation']:.3f}" for name, each in methods.items()},
        exhibits=[
            charts.curves(violation, "Loads while training", "MaxVio of each batch, worst layer.", "MaxVio"),
            Table("Ways of balancing", "Over all seeds; loads are of held-out text.", columns, cells),
        ],
    )


def build_upcycling(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `upcycle`."""
    curves = {f"{row['kind']}": row["training"] for row in rows if row.get("seed") == metrics["seeds"][0]}
    loads = next((row["loads"] for row in rows if row.get("kind") == "mixture"), [])
    facts = {
        "Loss at the start, beside the dense model's": f"{metrics['ce_gap_at_start']:+.1e}",
        "Largest difference of a logit at the start": f"{metrics['logits_difference']:.1e}",
        "Parameters": f"{metrics['parameters'] / 1e6:.1f} M, {metrics['activated_parameters'] / 1e6:.1f} M active",
        **_balance_facts(metrics["balance"]),
    }
    return Page(
        TITLE,
        verdict=_upcycling_verdict(metrics),
        story=[
            IDEA,
            "Here a finished dense model was cut into experts without changing what it computes: slices of each network"
            " became shared experts, copies of the others became routed ones. Training then tells the copies apart.",
            f"Measured on {metrics['documents']} documents of the text; {_seeds(metrics)}. A few steps show that the mixture"
            " trains on. They do not show what it could become.",
        ],
        facts=facts,
        exhibits=[*([_losses(curves)] if curves else []), *_violations(loads)],
    )


def build_bench(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `bench`."""
    cells = []
    for dtype, works in metrics["types"].items():
        for work, row in works.items():
            for how, speed in row["tokens_per_second"].items():
                ratio = row.get("fraction_of_dense" if how == "dense" else f"speedup_{how}")
                told = "–" if ratio is None else _times(ratio)
                cells.append([f"{dtype} {work}", "ours" if how == SORTED else how, f"{speed:,.0f}", told])
    story = [
        "The same weights run through our experts and through Transformers' own; a dense model of as many FLOPs per token"
        " stands beside them. Everything is timed in turn, round by round.",
    ]
    if is_contended(metrics["contention"]):
        story.append(f"Other programs took {metrics['contention']:.0%} of the machine; ratios stand better than speeds.")
    return Page(
        TITLE,
        verdict=(
            f"Training runs at {metrics['speedup_vs_transformers']:.2f} times the speed of Transformers' grouped products "
            f"and at {metrics['fraction_of_dense']:.2f} times that of a dense model with as many FLOPs per token."
        ),
        story=story,
        facts={
            "Training beside Transformers": f"{metrics['speedup_vs_transformers']:.2f}x",
            "Decoding beside its fastest": f"{metrics['speedup_in_decoding']:.2f}x",
        },
        exhibits=[Table("Speeds", "Ratios: our speed over theirs.", ["work", "how", "tokens/s", "ours beside it"], cells)],
    )


def _ladder_verdict(metrics: Metrics) -> str:
    words = {True: "is", False: "is not", None: "cannot be told to be"}[metrics["order_is_the_papers"]]
    verdict = f"The order of held-out losses {words} the paper's: "
    verdict += ", ".join(
        f"{metrics['rungs'][name]['title']} {metrics['rungs'][name]['loss']:.3f}" for name in metrics["order"]
    )
    closure = (metrics["rungs"].get("deepseekmoe") or {}).get("gap_closure")
    if closure is not None:
        verdict += f". DeepSeekMoE goes {closure['value']:.0%} of the way from the dense model to the widest one"
    return verdict + "."


def _upcycling_verdict(metrics: Metrics) -> str:
    verdict = (
        f"{metrics['model']} became a mixture of {metrics['parameters'] / 1e6:.0f} M parameters that computes the same: its"
        f" loss differs by {metrics['ce_gap_at_start']:+.1e} nats per token at the start"
    )
    if (difference := metrics["difference"]) is not None:
        low, high = difference["ci"]
        which = "below" if high < 0 else "above" if low > 0 else "not to be told from"
        verdict += (
            f"; after {metrics['tokens']:,} tokens it is at {metrics['ce_after']:.4f}, {which} the dense model's"
            f" {metrics['ce_dense_after']:.4f}"
        )
    elif metrics["ce_after"] is not None:
        verdict += (
            f"; in {metrics['tokens']:,} tokens it came from {metrics['ce_at_start']:.4f} to {metrics['ce_after']:.4f}"
        )
    return verdict + "."


def _losses(named: Mapping[str, Sequence[float]]) -> Figure:
    caption = "Cross-entropy of the batch, without balance losses; each point is the mean of a few steps."
    return charts.curves(named, "The loss while training", caption, "nats per token")


def _violations(loads: Sequence[Row]) -> list[Figure]:
    if not loads:
        return []
    named = {
        "worst layer": [step["max_violation"] for step in loads],
        "mean of layers": [step["mean_violation"] for step in loads],
    }
    caption = "MaxVio: how far the busiest expert of a batch is above the mean load; 0 is even."
    return [charts.curves(named, "How evenly experts are used", caption, "MaxVio")]


def _balance_facts(balance: Row | None) -> dict[str, str]:
    if not balance:
        return {}
    return {"Busiest expert": f"{1 + balance['max_violation']:.2f} times the mean", "Dead experts": str(balance["dead"])}


def _ladder_table(rungs: Mapping[str, Row]) -> Table:
    columns = ["Model", "Parameters, M", "Active, M", "MFLOPs per token", "Loss", "Gap closed", "In the paper"]
    rows = []
    for each in rungs.values():
        closure, paper = each["gap_closure"], each["gap_closure_paper"]
        rows.append(
            [
                each["title"],
                f"{each['parameters'] / 1e6:.2f}",
                f"{each['activated_parameters'] / 1e6:.2f}",
                f"{each['flops_per_token'] / 1e6:.2f}",
                f"{each['loss']:.4f}",
                "–" if closure is None else f"{closure['value']:.0%} ({closure['ci'][0]:.0%} to {closure['ci'][1]:.0%})",
                "–" if paper is None else f"{paper:.0%}",
            ]
        )
    return Table("All models in numbers", "Gap closed: 0% is the dense model, 100% the one 16 times as wide.", columns, rows)


def _differences_table(differences: Mapping[str, Row]) -> Table:
    rows = [[name, _signed(each["value"], each["ci"])] for name, each in differences.items()]
    return Table("Differences", "Paired over documents and seeds, nats per token.", ["less", "difference"], rows)


def _signed(value: float, interval: Sequence[float]) -> str:
    return f"{value:+.4f} ({interval[0]:+.4f} to {interval[1]:+.4f})"


def _times(ratio: Row) -> str:
    return f"{ratio['value']:.2f} ({ratio['ci'][0]:.2f} to {ratio['ci'][1]:.2f})"


def _seeds(metrics: Metrics) -> str:
    return "one start only" if len(metrics["seeds"]) == 1 else f"{len(metrics['seeds'])} starts"
