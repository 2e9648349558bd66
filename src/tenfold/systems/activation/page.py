"""Runs of the activation verbs as pages of the report: rows and metrics come in; words, figures and tables go out.

Only what was measured is said, with its interval, and a finding that does not hold is told as such.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Figure, Metrics, Page, Table
from tenfold.systems.activation import charts

Row = Mapping[str, Any]
TITLE = "Look: activation patterns"
FINDINGS = {
    "F1": "shallow layers are dense, deep ones sparse",
    "F2": "different domains are more alike in shallow layers",
    "F3": "in deep layers likeness follows relevance",
}
METHOD = (
    "How much would the output change if one weight were zero? One backward pass estimates that for every weight"
    " of a model at once, as |w * dD/dw|, D being a number of the output such as its largest logit. What a text"
    " leaves behind in this way is its pattern. Patterns show which layers and matrices a text uses, and how much"
    " two texts have in common in the model's eyes. This is a tool to look into models, and no rival of sentence"
    " encoders."
)


def build_map(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `map`."""
    exhibits: list[Figure | Table] = [_findings_table(metrics)]
    for target, found in metrics["targets"].items():
        domains = list(found["density"])
        sets = [row for row in rows if row.get("target") == target]
        exhibits += [
            charts.density(target, found["density"]),
            *([charts.modules(target, sets)] if sets else []),
            charts.likeness(target, found["by_layer"]),
            charts.domain_matrices(target, found["domain_matrices"], domains),
            charts.points(target, found["points"]),
        ]
    return Page(
        TITLE,
        verdict=_map_verdict(metrics),
        story=[METHOD, _drafting(metrics)],
        facts=_map_facts(metrics),
        exhibits=exhibits,
    )


def build_audit(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `audit`."""
    first = next(iter(metrics["targets"].values()))
    names = [name for found in metrics["targets"].values() for name in found["failures"]]
    failing = f" It falls short of that in {', '.join(dict.fromkeys(names))}." if names else ""
    return Page(
        TITLE,
        verdict=(
            f"One backward pass ranks the weights of {metrics['model']} as zeroing each of them does: Spearman"
            f" {first['spearman']:.3f} on {first['weights']} weights."
        ),
        story=[
            METHOD,
            f"Each sampled weight was set to zero, the model run, and the change compared with the estimate.{failing}",
        ],
        facts={name: f"{found['spearman']:.4f}" for name, found in metrics["targets"].items()},
        exhibits=[charts.audit([row for row in rows if "weights" in row])],
    )


def build_sts(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `sts`."""
    name, found = next(iter(metrics["sets"].items()))
    gap = found["ours_minus_hidden_mean"]
    if gap["interval"][0] > 0:
        words = "follow grades better than hidden states do"
    else:
        words = "follow grades less than hidden states do" if gap["interval"][1] < 0 else "cannot be told from hidden states"
    return Page(
        TITLE,
        verdict=f"On {name}, patterns {words}: {found['ours']['value']:.3f} against {found['hidden_mean']['value']:.3f}.",
        story=[
            METHOD,
            "One setting was chosen on training pairs and measured on other pairs, as the hidden states' layer was.",
        ],
        facts={"Patterns": f"{metrics['ours']:.3f}", "The paper's metric": f"{metrics['paper']:.3f}"},
        exhibits=[_sts_table(metrics), *(charts.grades(name, found["points"]) for name, found in metrics["sets"].items())],
    )


def build_classify(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `classify`."""
    domains = metrics["domains"]
    confusion = [[name, *map(str, row)] for name, row in zip(domains, metrics["confusion"], strict=True)]
    unseen = [[name, f"{value:.3f}"] for name, value in metrics["auroc"].items()]
    low, high = metrics["interval"]
    return Page(
        TITLE,
        verdict=f"The domain of {metrics['accuracy']:.1%} of {metrics['texts']} texts was told ({low:.1%} to {high:.1%}).",
        story=[METHOD, "All texts have one length. Centroids and judged texts share nothing."],
        facts={"Right": f"{metrics['accuracy']:.1%}", "Lowest AUROC of an unseen domain": f"{metrics['auroc_lowest']:.3f}"},
        exhibits=[
            Table("Domains and answers", "A row is the truth, a column the answer.", ["domain", *domains], confusion),
            Table("A domain left out", "1 would tell all of its texts from the rest, .5 none.", ["domain", "AUROC"], unseen),
        ],
    )


def build_prune(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `prune`."""
    lines = [
        [f"{float(sparsity):.0%}", name, f"{one['perplexity']:.2f}", _cut(one["gap_cut"])]
        for sparsity, found in metrics["sparsities"].items()
        for name, one in found.items()
    ]
    table = Table(
        "Plans compared",
        "How far each plan cuts uniform's gap to the unpruned model, in log-perplexity, with 95% over texts.",
        ["removed", "plan", "perplexity", "gap cut"],
        lines,
    )
    return Page(
        TITLE,
        verdict=_prune_verdict(metrics),
        story=[METHOD, "Layers are pruned one by one, each judged by what the pruned layers below hand on to it."],
        facts={"Unpruned": f"{metrics['dense']:.2f}", "Calibration seeds": str(len(metrics["seeds"]))},
        exhibits=[charts.perplexities(metrics["sparsities"], metrics["dense"]), charts.plans(metrics["sparsities"]), table],
    )


def build_choose(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `choose`."""
    ranking = [[task, *ranked[:3]] for task, ranked in metrics["ranking"].items()]
    width = max(len(row) for row in ranking)
    exhibits = [
        Table(
            "Which set for which task",
            "Sets in order of likeness to the task.",
            ["task", *(f"{place}." for place in range(1, width))],
            [[*row, *[""] * (width - len(row))] for row in ranking],
        )
    ]
    methods = metrics.get("methods", {})
    if methods:
        lines = [[name, f"{found['right']:.0%}", f"{found['regret']:.2%}"] for name, found in methods.items()]
        caption = "Each case is a task at a sparsity; regret is the perplexity lost beside the best set."
        exhibits.append(Table("Who was right", caption, ["chosen by", "best set chosen", "regret"], lines))
    verdict = f"Sets were ranked for {len(ranking)} tasks; the choice was not verified."
    if methods:
        right, regret = metrics["right"], metrics["regret"]
        cases = len(metrics["cases"])
        verdict = f"Patterns choose the best calibration set in {right:.0%} of {cases} cases, at a regret of {regret:.1%}."
    return Page(TITLE, verdict=verdict, story=[METHOD], exhibits=exhibits)


def build_experts(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `experts`."""
    missed = {name: len(never) for name, never in metrics["never_hit"].items()}
    words = ", ".join(f"{count} by {name}" for name, count in missed.items() if count) or "none"
    return Page(
        TITLE,
        verdict=f"Experts of {metrics['model']} that were never reached: {words}.",
        story=[METHOD, "An expert that no token reaches has no pattern: it is blank, and not zero."],
        exhibits=[charts.experts(name, found) for name, found in metrics["maps"].items()],
    )


BUILDERS = {
    "map": build_map,
    "audit": build_audit,
    "sts": build_sts,
    "classify": build_classify,
    "prune": build_prune,
    "choose": build_choose,
    "experts": build_experts,
}


def build_atlas(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `atlas`: the verdicts of its parts, then all their exhibits."""
    pages = [BUILDERS[name](found["rows"], found["metrics"]) for name, found in metrics["parts"].items()]
    stories = list(dict.fromkeys(text for page in pages for text in page.story))
    facts: dict[str, str] = {}
    for page in pages:
        facts |= page.facts
    return Page(
        "Look: an atlas of activation patterns",
        verdict=pages[0].verdict,
        story=[*(page.verdict for page in pages[1:]), *stories],
        facts=facts,
        exhibits=[exhibit for page in pages for exhibit in page.exhibits],
    )


def _findings_table(metrics: Metrics) -> Table:
    rows: list[list[str]] = []
    for target, found in metrics["targets"].items():
        rows += [[f"F1 {name}", target, one["verdict"], _signed(one)] for name, one in found["findings"]["F1"].items()]
        rows += [[key, target, one["verdict"], _signed(one)] for key in ("F2", "F3") for one in [found["findings"][key]]]
    caption = (
        "; ".join(f"{key}: {words}" for key, words in FINDINGS.items()) + ". Above 0 speaks for a finding; 95% over texts."
    )
    return Table("The paper's findings", caption, ["finding", "target", "verdict", "value"], rows)


def _signed(one: Row) -> str:
    return f"{one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})"


def _map_verdict(metrics: Metrics) -> str:
    target, found = next(iter(metrics["targets"].items()))
    first = [one["verdict"] == "holds" for one in found["findings"]["F1"].values()]
    others = ", ".join(f"{key} {found['findings'][key]['verdict']}" for key in ("F2", "F3"))
    return f"With {target} in {metrics['model']}, F1 holds in {sum(first)} of {len(first)} domains; {others}."


def _map_facts(metrics: Metrics) -> dict[str, str]:
    return {
        "Texts": str(sum(metrics["texts"].values())),
        "Domains": str(len(metrics["texts"])),
        "Tokens of a text": str(metrics["tokens"]),
        "Threshold": metrics["threshold"],
    }


def _drafting(metrics: Metrics) -> str:
    one = metrics["drafter"]["two_thirds"]
    return (
        f"The map also scores the layers for drafting. {len(one['layers'])} layers chosen by it agree with the model at"
        f" {one['chosen']:.1%} of {one['positions']} positions; evenly spread layers do at {one['even']:.1%}, random ones at"
        f" {one['random_mean']:.1%}."
    )


def _sts_table(metrics: Metrics) -> Table:
    names = {
        "ours": "patterns, ours",
        "paper": "patterns, the paper's",
        "hidden_mean": "mean hidden state",
        "hidden_last": "last hidden state",
        "jaccard": "shared tokens",
    }
    sets = metrics["sets"]
    rows = [[title, *(_interval(found[key]) for found in sets.values())] for key, title in names.items()]
    return Table("Spearman with the grades", "On held-out pairs, with 95% over pairs.", ["likeness", *sets], rows)


def _interval(one: Row) -> str:
    return f"{one['value']:.3f} ({one['interval'][0]:.3f} to {one['interval'][1]:.3f})"


def _cut(cut: Row | None) -> str:
    return "" if cut is None else f"{cut['value']:.1%} ({cut['interval'][0]:.1%} to {cut['interval'][1]:.1%})"


def _prune_verdict(metrics: Metrics) -> str:
    sparsity, found = next(iter(metrics["sparsities"].items()))
    best = min(found, key=lambda name: found[name]["perplexity"])
    words = f"With {float(sparsity):.0%} of the weights of {metrics['model']} gone, {best} loses least"
    cut = found[best]["gap_cut"]
    clear = cut is not None and cut["interval"][0] > 0
    tail = (
        ""
        if cut is None
        else f": it cuts uniform's gap by {cut['value']:.1%}" + ("" if clear else ", which chance may explain")
    )
    return f"{words}{tail}."
