"""The verb `map`: where a model's weights act, by layer, matrix and domain; the paper's findings; layers to draft with.

One pass a text leaves its signature, a sample of its weights and its sums by matrix. A set of texts is one row: a run that
was cut off goes on with the next set. Beside the metrics the run leaves `importance.jsonl` (layer, module, importance),
`layers.jsonl` (layer, score) for a layer-skip drafter, and the signatures.
"""

# N texts, L layers, W sampled weights
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator
from safetensors.torch import load_file, save_file
from torch import Tensor

from tenfold.core import jsonl
from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.nn.named_linears import NamedLinear, named_linears
from tenfold.store import atomic
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.activation import data, density, findings, skipping, targets
from tenfold.systems.activation.collect import collect
from tenfold.systems.activation.data import OWN, Piece
from tenfold.systems.activation.density import WeightSample
from tenfold.systems.activation.opened import OpenedModel, open_model
from tenfold.systems.activation.reducers import MeanMap
from tenfold.systems.activation.signature import BATCH_TOKENS, SignatureFolder, text_digest
from tenfold.systems.activation.similarity import choose_layers, similarity_by_layer

DRAFT_SHARE = 3
"""One layer in so many is left out, or kept, when layers that could draft are tried."""
MOST_SCORED, NUM_PROBES = 64, 12
"""Texts that score the layers, and about how many others measure the choice."""


class MapConfig(Config):
    """Map where weights act, by layer, matrix and domain, and say whether the paper's findings hold for this model."""

    model: str = "smollm2"
    """Model: smollm2, stories260k, a folder, a .gguf file or a hub id."""
    targets: Names = ("last_max", "mean_max")
    """Scalars of the output: last_max (the paper's), mean_max, nll."""
    texts: str = OWN
    """Where texts come from: own, shared, or a folder of DOMAIN.txt files."""
    domains: Names = data.DOMAINS
    """Domains to compare."""
    per_domain: int = Field(default=64, ge=3)
    """Texts of each domain, fewer where there are not so many."""
    tokens: int = Field(default=24, ge=2)
    """Tokens of every text: all are cut to one length, since length alone tells domains apart."""
    threshold: str = "quantile:0.9"
    """What counts as activated: quantile:0.9 of all layers and sets, knee, or absolute:2e-6."""
    sample: int = Field(default=256, ge=1)
    """One weight in so many is kept for every text, for the intervals."""
    save_map: bool = False
    """Also write the mean of every single weight, a file as large as the model for each domain and target."""

    @field_validator("targets")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            targets.find(name)
        return names

    @field_validator("domains")
    @classmethod
    def _several(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(names) < 2:
            raise ConfigError(f"domains are {list(names)}; give at least two, since the findings compare them")
        return names


class KindSums:
    """A reducer: the mean a of each kind of matrix in each layer, summed over texts."""

    def __init__(self, linears: Sequence[NamedLinear]) -> None:
        self.sums: dict[tuple[int, str], float] = {}
        self.sizes: dict[tuple[int, str], int] = {}
        for linear in linears:
            key = self._key(linear)
            self.sizes[key] = self.sizes.get(key, 0) + linear.weight_OI.numel()

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None:
        key = self._key(linear)
        self.sums[key] = self.sums.get(key, 0.0) + float(a_OI.sum())

    @staticmethod
    def _key(linear: NamedLinear) -> tuple[int, str]:
        """All experts of a layer count as one module."""
        return linear.layer, linear.kind if linear.expert is None else linear.kind.split(".")[0]

    def rows(self, num_texts: int) -> list[dict[str, Any]]:
        return [
            {"layer": layer, "module": kind, "importance": self.sums.get((layer, kind), 0.0) / num_texts / size}
            for (layer, kind), size in sorted(self.sizes.items())
        ]


def run_map(config: MapConfig, run: Run) -> Metrics:
    """Collects the sets that the run does not hold yet, then compares them."""
    opened = open_model(config.model)
    pieces = {name: _pieces(config, opened, name) for name in config.domains}
    wanted = [(target, name) for target in config.targets for name in config.domains]
    todo = [each for each in wanted if _key(*each) not in run.rows]
    for target, name in track(todo, "Sets of texts", done=len(wanted) - len(todo)):
        kinds = _collect(config, run, opened, target, pieces[name])
        run.add(_key(target, name), {"target": target, "domain": name, "texts": len(pieces[name]), "kinds": kinds})
    if "drafter" not in run.rows:
        run.add("drafter", _drafter(opened, [piece.ids for name in config.domains for piece in pieces[name]], run.folder))
    measured = {target: _measure(config, run, opened, target, pieces) for target in config.targets}
    _write_importance(run, config)
    return {
        "model": config.model,
        "weights": opened.digest,
        "threshold": config.threshold,
        "texts": {name: len(found) for name, found in pieces.items()},
        "tokens": config.tokens,
        "targets": measured,
        "drafter": {key: value for key, value in run.rows["drafter"].items() if key != "key"},
    }


def _key(target: str, domain: str) -> str:
    return f"set/{target}/{domain}"


def _pieces(config: MapConfig, opened: OpenedModel, name: str) -> list[Piece]:
    return data.load_pieces(opened, config.texts, name, tokens=config.tokens, count=config.per_domain)


def _folder(run: Run, opened: OpenedModel, target: str) -> SignatureFolder:
    return SignatureFolder(run.folder / f"signatures-{target}", opened, target, "rowcol")


def _sample_path(run: Run, target: str, domain: str) -> Path:
    return run.folder / f"sample-{target}-{domain}.safetensors"


def _collect(config: MapConfig, run: Run, opened: OpenedModel, target: str, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    folder, domain = _folder(run, opened, target), pieces[0].domain
    linears = named_linears(opened.model)
    sample = WeightSample(config.sample, linears=linears)
    signature, sums, mean = folder.reducer(), KindSums(linears), MeanMap()
    reducers = [sample, signature, sums, *([mean] if config.save_map else [])]
    ids, batch = [piece.ids for piece in pieces], max(1, BATCH_TOKENS // config.tokens)
    collect(opened.model, ids, targets.find(target), reducers, batch_size=batch)
    if any(text_digest(each) not in folder.index for each in ids):
        folder.keep(pieces, signature)
    kept = {f"layer.{number}": values_NW for number, values_NW in enumerate(sample.layers(len(pieces)))}
    atomic.write_file(_sample_path(run, target, domain), lambda scratch: save_file(kept, scratch))
    if config.save_map:
        whole = {f"{name}": mean.mean(name) for name in mean.sums}
        about = {"base": opened.digest, "target": target, "domain": domain}
        path = run.folder / f"map-{target}-{domain}.safetensors"
        atomic.write_file(path, lambda scratch: save_file(whole, scratch, metadata=about))
    return sums.rows(len(pieces))


def _measure(
    config: MapConfig, run: Run, opened: OpenedModel, target: str, pieces: Mapping[str, Sequence[Piece]]
) -> dict[str, Any]:
    layers = range(opened.num_layers)
    files = {name: load_file(_sample_path(run, target, name)) for name in config.domains}
    whole = {name: [tensors[f"layer.{layer}"] for layer in layers] for name, tensors in files.items()}
    sets = density.equal_sets(whole)
    if len({len(found[0]) for found in whole.values()}) > 1:
        run.log(f"{target}: sets of unequal size were cut to the smallest for the joint threshold")
    limit = density.threshold([values.mean(0) for found in sets.values() for values in found], config.threshold)
    curves = {name: density.curve(found, limit) for name, found in sets.items()}
    texts = [piece for name in config.domains for piece in pieces[name]]
    matrices = list(similarity_by_layer(_folder(run, opened, target).of(texts)))
    domains = [piece.domain for piece in texts]
    shallow, deep = (
        np.mean([matrices[n] for n in choose_layers(part, len(matrices))], axis=0) for part in ("shallow", "deep")
    )
    second, third, likeness = findings.likeness_findings(shallow, deep, domains)
    return {
        "limit": limit,
        "density": {name: {"values": c.values.tolist(), "intervals": c.intervals} for name, c in curves.items()},
        "findings": {
            "F1": {name: findings.density_falls(found).as_json() for name, found in curves.items()},
            "F2": second.as_json(),
            "F3": third.as_json(),
        },
        "likeness": vars(likeness),
        "by_layer": [_same_and_cross(matrix, domains) for matrix in matrices],
        "domain_matrices": {"shallow": _domain_matrix(shallow, domains), "deep": _domain_matrix(deep, domains)},
        "points": _points(deep, domains),
    }


def _same_and_cross(matrix_NN: np.ndarray, domains: Sequence[str]) -> dict[str, list[float]]:
    """Quartiles of the cosines of texts of the same and of different domains."""
    names = np.asarray(domains)
    same_NN = (names[:, None] == names[None, :]) & ~np.eye(len(names), dtype=bool)
    cross_NN = names[:, None] != names[None, :]
    marks = (5, 25, 50, 75, 95)
    return {
        "same": np.percentile(matrix_NN[same_NN], marks).tolist(),
        "cross": np.percentile(matrix_NN[cross_NN], marks).tolist(),
    }


def _domain_matrix(matrix_NN: np.ndarray, domains: Sequence[str]) -> list[list[float]]:
    """Mean cosine between the texts of each two domains; a text is not compared with itself."""
    names, known = np.asarray(domains), list(dict.fromkeys(domains))
    others_NN = np.where(np.eye(len(names), dtype=bool), np.nan, matrix_NN)
    return [[float(np.nanmean(others_NN[np.ix_(names == a, names == b)])) for b in known] for a in known]


def _points(matrix_NN: np.ndarray, domains: Sequence[str]) -> list[list[Any]]:
    """Two principal coordinates of each text from the matrix of cosines: [x, y, domain]."""
    centre = np.eye(len(matrix_NN)) - 1 / len(matrix_NN)
    values, vectors = np.linalg.eigh(centre @ matrix_NN @ centre)
    places = vectors[:, [-1, -2]] * np.sqrt(np.maximum(values[[-1, -2]], 0))
    return [[round(float(x), 4), round(float(y), 4), name] for (x, y), name in zip(places, domains, strict=True)]


def _drafter(opened: OpenedModel, texts: Sequence[Sequence[int]], folder: Path) -> dict[str, Any]:
    """Scores the layers on every other text, measures the chosen ones on the rest; writes both scores and random ones."""
    scores = skipping.layer_effects(opened.model, texts[::2][:MOST_SCORED])
    others = texts[1::2]
    probes = others[:: max(1, len(others) // NUM_PROBES)]
    _write_scores(folder / "layers.jsonl", scores)
    _write_scores(folder / "layers-random.jsonl", np.random.default_rng(0).random(len(scores)).tolist())
    count = max(1, opened.num_layers - opened.num_layers // DRAFT_SHARE)
    found = skipping.compare(opened.model, probes, scores, count)
    few = skipping.compare(opened.model, probes, scores, max(1, opened.num_layers // DRAFT_SHARE))
    return {"scores": scores, "two_thirds": found, "one_third": few}


def _write_scores(path: Path, scores: Sequence[float]) -> None:
    rows = [json.dumps({"layer": layer, "score": score}) for layer, score in enumerate(scores)]
    atomic.write_text(path, "".join(f"{row}\n" for row in rows))


def _write_importance(run: Run, config: MapConfig) -> None:
    """`importance.jsonl`: the mean a of each matrix over all domains, under the last target."""
    path, target = run.folder / "importance.jsonl", config.targets[-1]
    path.unlink(missing_ok=True)
    sets = [run.rows[_key(target, name)]["kinds"] for name in config.domains]
    for rows in zip(*sets, strict=True):
        importance = float(np.mean([row["importance"] for row in rows]))
        jsonl.append(
            path, {"layer": rows[0]["layer"], "module": rows[0]["module"], "importance": importance, "target": target}
        )


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"{metrics['model']}: {sum(metrics['texts'].values())} texts of {metrics['tokens']} tokens"]
    for target, found in metrics["targets"].items():
        for name, one in found["findings"]["F1"].items():
            lines.append(f"{target:>9}  F1 {name:<9} {_line(one)}")
        lines += [f"{target:>9}  {key:<12} {_line(found['findings'][key])}" for key in ("F2", "F3")]
    for key, title in (("two_thirds", "two thirds"), ("one_third", "a third")):
        one = metrics["drafter"][key]
        beaten = f"better than {one['random_beaten']} of {one['random_sets']}"
        lines.append(
            f"drafting with {title} of the layers: agrees at {one['chosen']:.1%} of {one['positions']} positions; evenly"
            f" spread {one['even']:.1%}, random {one['random_mean']:.1%} ({beaten})"
        )
    return "\n".join(lines)


def _line(one: Mapping[str, Any]) -> str:
    return f"{one['verdict']:<13} {one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})"
