"""The verb `sts`: do patterns follow the grades that people gave to pairs of sentences? The paper's metric, ours, baselines.

One setting is chosen on training pairs of the first set and measured on held-out pairs of every set. Signatures are kept as
they are computed, so a run that was cut off goes on behind the last 32 sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from tenfold.core.config import Config, Names
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.evals.statistics import cluster_bootstrap
from tenfold.store.runs import Run
from tenfold.systems.activation import baselines, data, grading, targets
from tenfold.systems.activation.data import Pair, Piece
from tenfold.systems.activation.grading import Fitted, Floats
from tenfold.systems.activation.opened import OpenedModel, open_model
from tenfold.systems.activation.signature import Kind, SignatureFolder, fill
from tenfold.systems.activation.similarity import PairCosines, Transform, pair_cosines

FEWEST_PAIRS = 10
FEW = 200
"""A training set of at most so many pairs is not halved: all of it chooses, and half of it is also the background."""
MAX_TOKENS = 96
DRAWS = 1000
PAPER: tuple[str, Kind] = ("last_max", "sketch")
SAMPLED = 8192
"""Weights a layer that a signature of kind `sample` keeps, about."""
TRANSFORMS: tuple[Transform, ...] = ("raw", "logratio")


class StsConfig(Config):
    """Measure how well likeness of patterns follows graded likeness of sentences, beside baselines."""

    model: str = "smollm2"
    """Model: smollm2, stories260k, a folder, a .gguf file or a hub id."""
    sets: Names = ("stsb", "sick")
    """Sets of graded pairs: stsb, sick, own; the setting is chosen on training pairs of the first."""
    targets: Names = ("last_max", "mean_max")
    """Scalars of the output to try."""
    pairs: int = Field(default=300, ge=FEWEST_PAIRS)
    """Held-out pairs of each set, spread evenly over it; a number above its size takes all."""
    train_pairs: int = Field(default=200, ge=FEWEST_PAIRS)
    """Pairs to choose the setting on."""
    kinds: tuple[Kind, ...] = ("rowcol",)
    """Signatures to try: rowcol, and sample (single weights), which pays for small models."""
    signatures: Path | None = None
    """Folder of signatures to use and add to; the run's own by default."""
    background: int = Field(default=150, ge=10)
    """Sentences, of other training pairs, whose mean pattern is taken out."""

    @field_validator("targets")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            targets.find(name)
        return names


@dataclass(frozen=True)
class Part:
    """Pairs with their sentences as pieces, and each pair as two places among them."""

    pairs: Sequence[Pair]
    pieces: Sequence[Piece]
    places: Sequence[tuple[int, int]]

    @property
    def grades(self) -> Floats:
        return np.array([pair.score for pair in self.pairs])


def run_sts(config: StsConfig, run: Run) -> Metrics:
    """Chooses on training pairs, then measures each set."""
    opened = open_model(config.model)
    whole = data.load_pairs(config.sets[0], "train")
    half = len(whole) // 2 if len(whole) > FEW else len(whole)
    train = part_of(opened, spread(whole[:half], config.train_pairs), "train")
    background = background_pieces(opened, whole[len(whole) // 2 :], config.background)
    collected = _Collected(opened, background, config, config.signatures or run.folder)
    chosen, tried = grading.choose(collected.features(train), train.grades, opened.num_layers)
    run.log(f"chosen {chosen.setting}, Spearman {chosen.train_spearman:.4f} on {len(train.pairs)} training pairs")
    measured = {}
    for name in config.sets:
        held_out = part_of(opened, spread(data.load_pairs(name, "dev"), config.pairs), name)
        if f"set/{name}" not in run.rows:
            run.add(f"set/{name}", _measure(opened, collected, chosen, train, held_out))
        measured[name] = {key: value for key, value in run.rows[f"set/{name}"].items() if key != "key"}
    best = sorted(tried, key=lambda found: -found.train_spearman)[:10]
    setting = vars(chosen.setting) | {"train_spearman": chosen.train_spearman, "train_pairs": len(train.pairs)}
    first = measured[config.sets[0]]
    return {
        "model": config.model,
        **{key: first[key]["value"] for key in ("paper", "ours", "hidden_mean")},
        "setting": setting,
        "sets": measured,
        "best_on_train": [vars(found.setting) | {"spearman": found.train_spearman} for found in best],
    }


class _Collected:
    """Signatures of everything that is compared, by target and kind."""

    def __init__(self, opened: OpenedModel, background: Sequence[Piece], config: StsConfig, place: Path) -> None:
        self.background, self.names = background, config.targets
        self.folders: dict[str, SignatureFolder] = {}
        for name in config.targets:
            for kind in config.kinds:
                path = place / f"{name}-{kind}"
                self.folders[f"{name}:{kind}"] = SignatureFolder(path, opened, name, kind, buckets=SAMPLED)
        target, kind = PAPER
        self.paper = SignatureFolder(place / f"{target}-{kind}", opened, target, kind)

    def features(self, part: Part) -> dict[tuple[str, str], PairCosines]:
        found: dict[tuple[str, str], PairCosines] = {}
        for target in self.names:
            mine = [folder for folder in (*self.folders.values(), self.paper) if folder.target == target]
            if plain := [folder for folder in mine if folder is not self.paper]:
                fill(plain, self.background, "Background")
            fill(mine, part.pieces, "Sentences")
        for name, folder in self.folders.items():
            background, texts = folder.of(self.background), folder.of(part.pieces)
            for transform in TRANSFORMS:
                found[name, transform] = pair_cosines(
                    texts,
                    part.places,
                    transform=transform,
                    background=background,
                    blocks=folder.blocks if folder.kind == "rowcol" else (),
                )
        return found

    def paper_scores(self, part: Part) -> Floats:
        """The paper's: raw cosine of the patterns of the last token's largest logit, mean over all layers."""
        return pair_cosines(self.paper.of(part.pieces, "Sentences"), part.places).layers.mean(1)


def _measure(opened: OpenedModel, collected: _Collected, chosen: Fitted, train: Part, part: Part) -> dict[str, Any]:
    scores = {
        "ours": chosen.scores(collected.features(part)),
        "paper": collected.paper_scores(part),
        **_baseline_scores(opened, train, part),
    }
    found: dict[str, Any] = {name: _estimate(values, part.grades) for name, values in scores.items()}
    gap = partial(_gap, scores["ours"], scores["hidden_mean"], part.grades)
    estimate = cluster_bootstrap(gap, [str(place) for place in range(len(part.pairs))], draws=DRAWS)
    found["ours_minus_hidden_mean"] = {"value": estimate.value, "interval": estimate.interval}
    points = zip(part.grades.tolist(), scores["ours"].tolist(), scores["hidden_mean"].tolist(), strict=True)
    return found | {"pairs": len(part.pairs), "points": [[round(number, 5) for number in point] for point in points]}


def _baseline_scores(opened: OpenedModel, train: Part, part: Part) -> dict[str, Floats]:
    """Hidden states take the layer that is best on the training pairs, as ours do."""
    found: dict[str, Floats] = {}
    states = [baselines.hidden_states(opened.model, [piece.ids for piece in each.pieces]) for each in (train, part)]
    for name, before, after in zip(("hidden_mean", "hidden_last"), *states, strict=True):
        ranked = [grading.spearman(column_P, train.grades) for column_P in baselines.pair_cosines(before, train.places).T]
        found[name] = baselines.pair_cosines(after, part.places)[:, int(np.nanargmax(ranked))]
    shared = [baselines.jaccard(part.pieces[first].ids, part.pieces[second].ids) for first, second in part.places]
    return found | {"jaccard": np.array(shared)}


def _estimate(scores_P: Floats, grades_P: Floats) -> dict[str, Any]:
    places = [str(place) for place in range(len(grades_P))]
    found = cluster_bootstrap(lambda index: grading.spearman(scores_P[index], grades_P[index]), places, draws=DRAWS)
    return {"value": found.value, "interval": found.interval}


def _gap(first_P: Floats, second_P: Floats, grades_P: Floats, index: Any) -> float:
    grades = grades_P[index]
    return grading.spearman(first_P[index], grades) - grading.spearman(second_P[index], grades)


def part_of(opened: OpenedModel, pairs: Sequence[Pair], name: str) -> Part:
    """Encodes pairs; a sentence that occurs twice is one piece.

    Raises:
        UserError: there are fewer than ten pairs.
    """
    if len(pairs) < FEWEST_PAIRS:
        raise UserError(f"the set {name!r} has {len(pairs)} pairs; a rank correlation needs at least {FEWEST_PAIRS}")
    sentences = dict.fromkeys(sentence for pair in pairs for sentence in (pair.first, pair.second))
    place_of = {sentence: place for place, sentence in enumerate(sentences)}
    pieces = [Piece(f"{name}-{n}", name, tuple(opened.ids(text, MAX_TOKENS))) for n, text in enumerate(sentences)]
    return Part(pairs, pieces, [(place_of[pair.first], place_of[pair.second]) for pair in pairs])


def background_pieces(opened: OpenedModel, pairs: Sequence[Pair], count: int) -> list[Piece]:
    """So many different sentences of pairs that are used for nothing else."""
    sentences = list(dict.fromkeys(sentence for pair in pairs for sentence in (pair.first, pair.second)))
    return [
        Piece(f"background-{n}", "background", tuple(opened.ids(text, MAX_TOKENS)))
        for n, text in enumerate(sentences[:count])
    ]


def spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """At most so many pairs at equal distances."""
    if count >= len(pairs):
        return list(pairs)
    return [pairs[place * len(pairs) // count] for place in range(count)]


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    setting = metrics["setting"]
    lines = [
        f"{metrics['model']}: chosen on training pairs: {setting['target']}, {setting['transform']}, {setting['layers']}"
        f" (Spearman {setting['train_spearman']:.3f} there)"
    ]
    names = {"ours": "patterns, ours", "paper": "patterns, the paper's", "hidden_mean": "mean hidden state"}
    names |= {"hidden_last": "last hidden state", "jaccard": "shared tokens"}
    for name, found in metrics["sets"].items():
        lines.append(f"{name}, {found['pairs']} held-out pairs, Spearman with the grades (95 %):")
        for key, title in names.items():
            low, high = found[key]["interval"]
            lines.append(f"{title:>24}  {found[key]['value']:.3f}  ({low:.3f} to {high:.3f})")
    return "\n".join(lines)
