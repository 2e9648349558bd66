"""The verb `classify`: which domain is a text of, and is it of none of them? Nearest centroid of signatures.

Centroids and the texts that are judged share nothing, and all texts have one length. Each domain is left out in turn to
measure how well texts of an unseen domain are told from the others.
"""

# N texts, C domains, K numbers of a layer
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from tenfold.core import jsonl
from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError, UserError
from tenfold.core.records import Metrics
from tenfold.evals.statistics import wilson
from tenfold.store.runs import Run
from tenfold.systems.activation import data, targets
from tenfold.systems.activation.data import OWN, Piece
from tenfold.systems.activation.opened import OpenedModel, open_model
from tenfold.systems.activation.signature import Kind, SignatureFolder
from tenfold.systems.activation.similarity import Transform, choose_layers, layer_vectors

Floats = NDArray[np.float64]


class ClassifyConfig(Config):
    """Tell the domain of texts from their patterns, and texts of an unseen domain from all."""

    model: str = "smollm2"
    """Model: smollm2, stories260k, a folder, a .gguf file or a hub id."""
    target: str = "mean_max"
    """Scalar of the output: mean_max, last_max, nll."""
    transform: Transform = "logratio"
    """raw cosines, or the logratio to the mean of the centroids' texts."""
    layers: str = "deep"
    """Layers that count: all, deep, shallow, layer:K."""
    kind: Kind = "rowcol"
    """Signatures: rowcol, sketch (raw only), sample."""
    texts: str = OWN
    """Where texts come from: own, shared, or a folder of DOMAIN.txt files."""
    domains: Names = data.DOMAINS
    """Domains to tell apart."""
    centroid_texts: int = Field(default=20, ge=2)
    """Texts of each domain that make its centroid."""
    test_texts: int = Field(default=20, ge=2)
    """Other texts of each domain that are judged."""
    tokens: int = Field(default=24, ge=2)
    """Tokens of every text."""
    file: Path | None = None
    """JSONL of {"id", "text"}: also judge these texts, each cut to the same length."""


def run_classify(config: ClassifyConfig, run: Run) -> Metrics:
    """Signatures are kept in the run as they are computed."""
    targets.find(config.target)
    if len(config.domains) < 2:
        raise ConfigError(f"domains are {list(config.domains)}; give at least two")
    opened = open_model(config.model)
    choose_layers(config.layers, opened.num_layers)
    known, judged = _pieces(config, opened)
    own = _own_texts(config, opened)
    folder = SignatureFolder(run.folder / "signatures", opened, config.target, config.kind)
    cosines_NC = _cosines(config, folder, known, [*judged, *own])
    truth = [piece.domain for piece in judged]
    rows = _rows(config, own, cosines_NC[len(judged) :])
    for row in rows:
        if row["id"] not in run.rows:
            run.add(row["id"], row)
    return {
        "model": config.model,
        "domains": list(config.domains),
        **measures(cosines_NC[: len(judged)], truth, config.domains),
    }


def _pieces(config: ClassifyConfig, opened: OpenedModel) -> tuple[list[Piece], list[Piece]]:
    known: list[Piece] = []
    judged: list[Piece] = []
    for name in config.domains:
        count = config.centroid_texts + config.test_texts
        found = data.load_pieces(opened, config.texts, name, tokens=config.tokens, count=count)
        if len(found) < config.centroid_texts + 2:
            raise UserError(
                f"{name!r} gives {len(found)} texts of {config.tokens} tokens; lower tokens or centroid_texts"
                f" ({config.centroid_texts}), so that at least two are left to judge"
            )
        known += found[: config.centroid_texts]
        judged += found[config.centroid_texts :]
    return known, judged


def _own_texts(config: ClassifyConfig, opened: OpenedModel) -> list[Piece]:
    if config.file is None:
        return []
    try:
        texts = [(str(row["id"]), str(row["text"])) for row in jsonl.read(config.file)]
    except (KeyError, TypeError):
        raise ConfigError(f'{config.file}: a line lacks "id" or "text"; {{"id", "text"}} objects are accepted') from None
    return [Piece(key, "?", tuple(opened.ids(text, config.tokens))) for key, text in texts]


def _cosines(config: ClassifyConfig, folder: SignatureFolder, known: Sequence[Piece], judged: Sequence[Piece]) -> Floats:
    """[N, C]: the mean over layers of the cosine to each centroid."""
    everything, background = folder.of([*known, *judged]), folder.of(known)
    chosen = set(choose_layers(config.layers, everything.num_layers))
    names = np.array([piece.domain for piece in known])
    found: list[Floats] = []
    for number, vectors_NK in enumerate(layer_vectors(everything, config.transform, background)):
        if number not in chosen:
            continue
        unit_NK = functional.normalize(vectors_NK, dim=1)
        own = unit_NK[: len(known)]
        centroids = torch.stack([own[torch.from_numpy(names == name)].mean(0) for name in config.domains])
        found.append((unit_NK[len(known) :] @ functional.normalize(centroids, dim=1).T).double().numpy())
    return np.mean(found, axis=0)


def _rows(config: ClassifyConfig, own: Sequence[Piece], cosines_NC: Floats) -> list[dict[str, Any]]:
    return [
        {"id": piece.key, "domain": config.domains[int(row.argmax())], "cosine": float(row.max())}
        for piece, row in zip(own, cosines_NC, strict=True)
    ]


def measures(cosines_NC: Floats, truth: Sequence[str], domains: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its interval, the confusions, and for each domain left out how well it is told from the rest."""
    guesses = [domains[place] for place in cosines_NC.argmax(1)]
    right = [guess == name for guess, name in zip(guesses, truth, strict=True)]
    interval = wilson(sum(right), len(right))
    table = [[sum(t == a and g == b for t, g in zip(truth, guesses, strict=True)) for b in domains] for a in domains]
    unseen = {name: unseen_auroc(cosines_NC, truth, domains, name) for name in domains}
    return {
        "texts": len(right),
        "accuracy": sum(right) / len(right),
        "interval": interval.interval,
        "confusion": table,
        "auroc": unseen,
        "auroc_mean": float(np.mean(list(unseen.values()))),
        "auroc_lowest": min(unseen.values()),
    }


def unseen_auroc(cosines_NC: Floats, truth: Sequence[str], domains: Sequence[str], left_out: str) -> float:
    """How well the largest cosine to the other centroids tells texts of these domains from texts of the one left out."""
    others = [place for place, name in enumerate(domains) if name != left_out]
    return float(roc_auc_score([name != left_out for name in truth], cosines_NC[:, others].max(1)))


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    low, high = metrics["interval"]
    lines = [
        f"{metrics['model']}: {metrics['accuracy']:.1%} of {metrics['texts']} texts right (95 % {low:.1%} to {high:.1%})"
    ]
    lines += [f"{name:>12}, left out: AUROC {value:.3f}" for name, value in metrics["auroc"].items()]
    return "\n".join(lines)
