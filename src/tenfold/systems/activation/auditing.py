"""The verb `audit`: is |w * dD/dw| what zeroing the weight does? Per layer, per matrix, and where it fails.

One row a target and layer, so a run that was cut off goes on with the next layer. All in float64.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field, field_validator
from scipy.stats import spearmanr

from tenfold.core.config import Config, Names
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.evals.statistics import cluster_bootstrap
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.activation import audit, targets
from tenfold.systems.activation.data import OWN, load_pieces
from tenfold.systems.activation.groups import group_changes
from tenfold.systems.activation.opened import OpenedModel, open_model

FAILS_BELOW = 0.95
"""A group of weights whose Spearman correlation lies below is named as a failure."""
DRAWS = 300
Row = Mapping[str, Any]


class AuditConfig(Config):
    """Compare the estimated effect of weights with what zeroing each of them does."""

    model: str = "smollm2"
    """Model: smollm2, stories260k, a folder, a .gguf file or a hub id."""
    targets: Names = ("last_max", "mean_max")
    """Scalars of the output: last_max (the paper's), mean_max, nll."""
    weights: int = Field(default=600, ge=10)
    """Weights to zero, at least; spread evenly over matrices and over deciles of the estimate."""
    texts: str = OWN
    """Where the text comes from: own, shared, or a folder of DOMAIN.txt files."""
    domain: str = "wiki"
    """Domain of the text."""
    tokens: int = Field(default=24, ge=2)
    """Tokens of the text."""
    groups: bool = False
    """Also zero a row, a head and a whole matrix in each layer, beside their first-order and path-integral estimates."""
    seed: int = 0
    """Seed of the sample."""

    @field_validator("targets")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            targets.find(name)
        return names


def run_audit(config: AuditConfig, run: Run) -> Metrics:
    """Audits the layers that the run does not hold yet."""
    wanted = [f"{target}/{layer}" for target in config.targets for layer in range(_num_layers(config, run))]
    if any(key not in run.rows for key in wanted):
        _fill(config, run)
    rows = [row for key, row in run.rows.items() if "/" in key]
    measured = {target: measures([row for row in rows if row["target"] == target]) for target in config.targets}
    first = measured[config.targets[0]]
    return {"model": config.model, "spearman": first["spearman"], "weights": first["weights"], "targets": measured}


def _num_layers(config: AuditConfig, run: Run) -> int:
    if "layers" not in run.rows:
        run.add("layers", {"layers": open_model(config.model).num_layers})
    return run.rows["layers"]["layers"]


def _fill(config: AuditConfig, run: Run) -> None:
    opened = open_model(config.model, dtype=torch.float64)
    (piece,) = load_pieces(opened, config.texts, config.domain, tokens=config.tokens, count=1)
    for name in config.targets:
        todo = [layer for layer in range(opened.num_layers) if f"{name}/{layer}" not in run.rows]
        if not todo:
            continue
        picks = audit.sample(opened.model, piece.ids, targets.find(name), config.weights, seed=config.seed)
        for layer in track(todo, f"Layers, {name}", done=opened.num_layers - len(todo)):
            mine = [pick for pick in picks if pick.linear.layer == layer]
            run.add(f"{name}/{layer}", {"target": name, "layer": layer, **_layer(opened, piece.ids, name, mine, config)})


def _layer(
    opened: OpenedModel, ids: Sequence[int], name: str, picks: Sequence[audit.Pick], config: AuditConfig
) -> dict[str, Any]:
    target = targets.find(name)
    exact = audit.exact_changes(opened.model, ids, target, picks)
    weights = [
        {"kind": pick.linear.kind, "estimate": pick.estimate, "exact": change, "weight": abs(pick.weight)}
        for pick, change in zip(picks, exact, strict=True)
    ]
    groups = group_changes(opened.model, ids, target, picks[0].linear.layer) if config.groups else []
    return {"weights": weights, "groups": groups}


def measures(rows: Sequence[Row]) -> dict[str, Any]:
    """Agreement over all weights, per layer, per kind of matrix, in the tenth of largest weights; failures by name."""
    weights = [{**weight, "layer": row["layer"]} for row in rows for weight in row["weights"]]
    estimates, exact = (np.array([weight[key] for weight in weights]) for key in ("estimate", "exact"))
    if len(weights) < 10:
        raise UserError(f"the audit has {len(weights)} weights; ask for at least 10")
    places = [str(place) for place in range(len(weights))]
    interval = cluster_bootstrap(lambda index: _number(rho(estimates[index], exact[index])), places, draws=DRAWS)
    largest = np.argsort([weight["weight"] for weight in weights])[-max(10, len(weights) // 10) :]
    layers, kinds = _grouped(weights, "layer"), _grouped(weights, "kind")
    named = [*((f"layer {key}", value) for key, value in layers.items()), *kinds.items()]
    return {
        "weights": len(weights),
        "spearman": rho(estimates, exact),
        "interval": interval.interval,
        "largest_tenth": rho(estimates[largest], exact[largest]),
        "median_relative_error": float(np.median(np.abs(estimates - exact)[exact > 0] / exact[exact > 0])),
        "by_layer": list(layers.values()),
        "by_kind": kinds,
        "failures": {name: value for name, value in named if value is not None and value < FAILS_BELOW},
        "groups": _group_measures([group for row in rows for group in row["groups"]]),
    }


def _grouped(weights: Sequence[Row], by: str) -> dict[str, float | None]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for weight in weights:
        groups[str(weight[by])].append(weight)
    return {key: rho(*([row[name] for row in group] for name in ("estimate", "exact"))) for key, group in groups.items()}


def _group_measures(groups: Sequence[Row]) -> dict[str, float | None]:
    """Spearman of the signed first-order sum, and of the path integral, against zeroing a whole group."""
    scopes = dict.fromkeys(group["scope"] for group in groups)
    found: dict[str, float | None] = {}
    for scope in scopes:
        mine = [group for group in groups if group["scope"] == scope]
        for way in ("estimate", "integrated"):
            found[f"{scope}_{way}"] = rho([group[way] for group in mine], [group["exact"] for group in mine])
    return found


def rho(first: Iterable[float], second: Iterable[float]) -> float | None:
    """Spearman's rank correlation; None where one side does not vary."""
    a, b = np.asarray(list(first)), np.asarray(list(second))
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b)[0])  # pyright: ignore[reportArgumentType]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"Estimate against exact zeroing, {metrics['model']}:"]
    for name, found in metrics["targets"].items():
        low, high = found["interval"]
        lines.append(
            f"{name:>12}  Spearman {found['spearman']:.4f} ({low:.4f} to {high:.4f}) on {found['weights']} weights; largest"
            f" tenth {found['largest_tenth']:.3f}; median relative error {found['median_relative_error']:.2%}"
        )
        lines += [f"{'below ' + str(FAILS_BELOW):>12}  {group}: {value:.3f}" for group, value in found["failures"].items()]
    return "\n".join(lines)
