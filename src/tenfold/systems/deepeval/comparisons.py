"""One set of answers against another: gains between arms, models against each other, task upon task, facets.

All are paired by question; intervals resample whole blocks and p values flip the signs of whole blocks (deepeval.md sections
6 and 9). Tests made together get Holm's p.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from tenfold.evals.statistics import cluster_mean, cluster_ratio, holm, mcnemar, sign_flip
from tenfold.systems.deepeval.asking import Circular
from tenfold.systems.deepeval.items import TASKS
from tenfold.systems.deepeval.measures import Group, Row, cluster_of, score, scores, with_interval

GAINS = {
    "vision": ("image", "none"),
    "picture identity": ("image", "wrong-image"),
    "oracle description": ("oracle", "image"),
    "own description": ("own", "image"),
    "oracle text": ("text-oracle", "none"),
    "own text": ("text-own", "none"),
    "wrong text": ("text-wrong", "none"),
    "text identity": ("text-oracle", "text-wrong"),
}
"""Each gain as the accuracy under its first arm less that under its second."""
SMALLEST_FACET = 20


def difference(rows: Sequence[Row], others: Mapping[str, float], circular: Circular) -> dict[str, Any] | None:
    """The mean of score less the other score of the same question, with interval and p; None without a common question."""
    kept = [row for row in rows if row["item"] in others]
    pairs = [(ours - others[row["item"]], cluster_of(row)) for row in kept if (ours := score(row, circular)) is not None]
    if not pairs:
        return None
    values, clusters = [value for value, _ in pairs], [cluster for _, cluster in pairs]
    return {"n": len(values), **with_interval("difference", cluster_mean(values, clusters)), "p": p_value(values, clusters)}


def p_value(differences: Sequence[float], clusters: Sequence[str]) -> float:
    """Sign flips by block; McNemar's exact test where every question stands alone and was tried once."""
    if len(set(clusters)) == len(clusters) and set(differences) <= {-1.0, 0.0, 1.0}:
        return mcnemar(list(differences).count(1.0), list(differences).count(-1.0))
    return sign_flip(differences, clusters)


def with_holm(comparisons: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Adds Holm's adjusted p to comparisons that were made together."""
    adjusted = holm({str(place): comparison["p"] for place, comparison in enumerate(comparisons)})
    return [{**comparison, "p_holm": adjusted[str(place)]} for place, comparison in enumerate(comparisons)]


def gains(groups: Mapping[Group, Sequence[Row]], circular: Circular) -> list[dict[str, Any]]:
    """Every gain whose two arms were run, with Holm's p over all of them."""
    found = []
    for model, task in dict.fromkeys((model, task) for model, task, _ in groups):
        for name, (more, less) in GAINS.items():
            first, second = groups.get((model, task, more)), groups.get((model, task, less))
            change = difference(first, scores(second, circular), circular) if first and second else None
            if change:
                found.append({"model": model, "task": task, "gain": name, "arms": [more, less], **change})
    return with_holm(found)


def faithfulness(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Own gain over oracle gain: how much of what a person's description gives the model's own one gives too."""
    by_name = {(gain["model"], gain["task"], gain["gain"]): gain["difference"] for gain in found}
    return [
        {"model": model, "task": task, "faithfulness": own / by_name[model, task, "oracle description"]}
        for (model, task, name), own in by_name.items()
        if name == "own description" and by_name.get((model, task, "oracle description"))
    ]


def between_models(groups: Mapping[Group, Sequence[Row]], circular: Circular) -> list[dict[str, Any]]:
    """Each pair of models under the same task and arm, with Holm's p over all pairs."""
    found = []
    names = list(dict.fromkeys(model for model, _, _ in groups))
    for task, arm in dict.fromkeys((task, arm) for _, task, arm in groups):
        for place, first in enumerate(names):
            for second in names[place + 1 :]:
                ours, theirs = groups.get((first, task, arm)), groups.get((second, task, arm))
                change = difference(ours, scores(theirs, circular), circular) if ours and theirs else None
                if change:
                    found.append({"task": task, "arm": arm, "models": [first, second], **change})
    return with_holm(found)


def hierarchy(groups: Mapping[Group, Sequence[Row]], circular: Circular) -> list[dict[str, Any]]:
    """How often the deeper task is right where the shallower one was right, or wrong, on the same picture."""
    found = []
    for model, arm in dict.fromkeys((model, arm) for model, _, arm in groups):
        for shallow, deep in pairwise(TASKS):
            first, second = groups.get((model, shallow, arm)), groups.get((model, deep, arm))
            shares = _conditional(first, second, circular) if first and second else None
            if shares:
                found.append({"model": model, "arm": arm, "given": shallow, "then": deep, **shares})
    return found


def _conditional(first: Sequence[Row], second: Sequence[Row], circular: Circular) -> dict[str, Any] | None:
    known = {row["image_id"]: value for row in first if (value := score(row, circular)) is not None}
    pairs = [(known[row["image_id"]], score(row, circular), cluster_of(row)) for row in second if row["image_id"] in known]
    both = [(given, then, cluster) for given, then, cluster in pairs if then is not None]
    if not both:
        return None
    weights = {"if_right": [given for given, _, _ in both], "if_wrong": [1 - given for given, _, _ in both]}
    return {"n": len(both)} | {name: _weighted(both, weight) for name, weight in weights.items()}


def _weighted(both: Sequence[tuple[float, float, str]], weights: Sequence[float]) -> dict[str, Any] | None:
    if not sum(weights):
        return None
    hits = [weight * then for weight, (_, then, _) in zip(weights, both, strict=True)]
    return with_interval("accuracy", cluster_ratio(hits, weights, [cluster for _, _, cluster in both]))


def facets(rows: Sequence[Row], circular: Circular) -> list[dict[str, Any]]:
    """Accuracy of the questions of each facet and against the rest, Holm over these; no number where fewer than 20."""
    scored = [(row, value) for row in rows if (value := score(row, circular)) is not None]
    names = sorted({facet for row, _ in scored for facet in row["facets"]})
    table = [_facet(name, scored) for name in names]
    tested = {line["facet"]: line for line in with_holm([line for line in table if "p" in line])}
    return [tested.get(line["facet"], line) for line in table]


def _facet(name: str, scored: Sequence[tuple[Row, float]]) -> dict[str, Any]:
    inside = [(value, cluster_of(row)) for row, value in scored if name in row["facets"]]
    line: dict[str, Any] = {"facet": name, "n": len(inside)}
    if len(inside) < SMALLEST_FACET:
        return line
    line |= with_interval("accuracy", cluster_mean([value for value, _ in inside], [cluster for _, cluster in inside]))
    return line | _contrast(name, scored) if len(scored) - len(inside) >= SMALLEST_FACET else line


def _contrast(name: str, scored: Sequence[tuple[Row, float]]) -> dict[str, Any]:
    """The facet's mean less the mean of the rest; each question's part in that difference may flip with its block."""
    overall = fmean(value for _, value in scored)
    inside = sum(name in row["facets"] for row, _ in scored) / len(scored)
    parts = [(value - overall) / (inside if name in row["facets"] else inside - 1) for row, value in scored]
    return {"against_rest": fmean(parts), "p": sign_flip(parts, [cluster_of(row) for row, _ in scored])}
