"""The verb `choose`: which of several sets of texts to prune by, if the pruned model is to do a task.

The answer is the set whose centroid of signatures is most like the task's. Baselines answer the same from token counts,
hidden states, and the dense model's loss. `verify` prunes with every set and measures the task's held-out loss: who was
right, and what the choice cost. One row a pruned model.
"""

# N texts, L layers, K numbers of a layer
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from torch.nn import functional

from tenfold.core.config import Config, Names, split_commas
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.activation import allocate, baselines, data, targets
from tenfold.systems.activation.data import OWN, Piece
from tenfold.systems.activation.opened import OpenedModel, open_model
from tenfold.systems.activation.pruners import Pruner
from tenfold.systems.activation.pruning import losses, losses_after
from tenfold.systems.activation.signature import SignatureFolder
from tenfold.systems.activation.similarity import choose_layers, layer_vectors

Floats = NDArray[np.float64]
Ids = Sequence[tuple[int, ...]]
DRAWS = 300


class ChooseConfig(Config):
    """Rank sets of texts by how well they would calibrate pruning for a task."""

    model: str = "smollm2"
    """Model: smollm2, stories260k, a folder, a .gguf file or a hub id."""
    texts: str = OWN
    """Where texts come from: own, shared, or a folder of DOMAIN.txt files."""
    candidates: Names = data.DOMAINS
    """Sets to choose from."""
    tasks: Names = data.DOMAINS
    """Tasks, each a domain whose held-out texts stand for it."""
    with_own: bool = True
    """Whether a task's own set may be chosen; without it the choice is harder."""
    per_set: int = Field(default=16, ge=2)
    """Texts of each set that make its signature and calibrate pruning; also of each task."""
    tokens: int = Field(default=48, ge=8)
    """Tokens of every text."""
    report_texts: int = Field(default=16, ge=2)
    """Held-out texts of each task on which a pruned model is measured."""
    target: str = "mean_max"
    """Scalar of the output: mean_max, last_max, nll."""
    layers: str = "deep"
    """Layers that count: all, deep, shallow, layer:K."""
    verify: bool = True
    """Prune with every set and measure, instead of only ranking."""
    sparsities: Annotated[tuple[float, ...], BeforeValidator(split_commas)] = (0.5,)
    """Shares of the weights that verification removes, by Wanda, alike in every layer."""


@dataclass(frozen=True)
class Sets:
    """The blocks of text of each domain: to calibrate by, to show the task by, to report on."""

    calibration: Mapping[str, Ids]
    shown: Mapping[str, Ids]
    report: Mapping[str, Ids]


def run_choose(config: ChooseConfig, run: Run) -> Metrics:
    """Ranks, and verifies by pruning what the run does not hold yet."""
    targets.find(config.target)
    if len(config.candidates) < 2:
        raise ConfigError(f"candidates are {list(config.candidates)}; give at least two to choose from")
    for sparsity in config.sparsities:
        allocate.check_sparsity(sparsity)
    opened = open_model(config.model)
    sets = _sets(config, opened)
    if "scores" not in run.rows:
        run.add("scores", {"by_method": _scores(config, run, opened, sets)})
    scores = run.rows["scores"]["by_method"]
    ranking = {task: _ranked(scores["patterns"][task], config.with_own, task) for task in config.tasks}
    result: dict[str, Any] = {"model": config.model, "ranking": ranking, "scores": scores}
    if config.verify:
        _verify(config, run, opened, sets)
        result |= judged(run.rows, config)
    return result


def _sets(config: ChooseConfig, opened: OpenedModel) -> Sets:
    calibration, shown, report = {}, {}, {}
    for name in dict.fromkeys((*config.candidates, *config.tasks)):
        parts = data.split(config.texts, name)
        blocks = [data.blocks(opened, part, config.tokens) for part in (parts.calibration, parts.dev, parts.report)]
        calibration[name], shown[name] = (data.evenly(part, config.per_set) for part in blocks[:2])
        report[name] = data.evenly(blocks[2], config.report_texts)
    return Sets(calibration, shown, report)


def _scores(config: ChooseConfig, run: Run, opened: OpenedModel, sets: Sets) -> dict[str, Any]:
    """method -> task -> candidate -> score, larger is better; patterns also with the share of draws that each wins."""
    ids = [ids for name in config.candidates for ids in sets.calibration[name]]
    ids += [ids for task in config.tasks for ids in sets.shown[task]]
    spans = _spans(config, sets)
    num_known = sum(len(sets.calibration[name]) for name in config.candidates)
    units = _unit_patterns(config, run, opened, ids, num_known)
    means, _ = baselines.hidden_states(opened.model, ids)
    hidden = [functional.normalize(layer_ND, dim=1) for layer_ND in means.transpose(0, 1)]
    vocab = opened.model.config.get_text_config().vocab_size
    dense = {name: -float(losses(opened, sets.calibration[name]).mean()) for name in config.candidates}
    return {
        "patterns": {task: _centroid_cosines(units, spans, config.candidates, task) for task in config.tasks},
        "hidden": {task: _centroid_cosines(hidden, spans, config.candidates, task) for task in config.tasks},
        "unigram": {
            task: {n: baselines.unigram_cosine(sets.calibration[n], sets.shown[task], vocab) for n in config.candidates}
            for task in config.tasks
        },
        "dense_loss": dict.fromkeys(config.tasks, dense),
        "won": {task: _won(units, spans, config.candidates, task) for task in config.tasks},
    }


def _spans(config: ChooseConfig, sets: Sets) -> dict[str, slice]:
    """Where the texts of each candidate, and of each task (`task:NAME`), stand."""
    spans, place = {}, 0
    for name in config.candidates:
        spans[name] = slice(place, place + len(sets.calibration[name]))
        place = spans[name].stop
    for task in config.tasks:
        spans[f"task:{task}"] = slice(place, place + len(sets.shown[task]))
        place = spans[f"task:{task}"].stop
    return spans


def _unit_patterns(config: ChooseConfig, run: Run, opened: OpenedModel, ids: Ids, num_known: int) -> list[torch.Tensor]:
    """Log-ratios of the signatures over the chosen layers, each of length 1, [N, K] a layer."""
    folder = SignatureFolder(run.folder / "signatures", opened, config.target, "rowcol")
    pieces = [Piece(f"text-{place}", "", tuple(each)) for place, each in enumerate(ids)]
    texts, background = folder.of(pieces), folder.of(pieces[:num_known])
    chosen = set(choose_layers(config.layers, opened.num_layers))
    vectors = enumerate(layer_vectors(texts, "logratio", background))
    return [functional.normalize(vectors_NK, dim=1) for number, vectors_NK in vectors if number in chosen]


def _centroid_cosines(
    layers: Sequence[torch.Tensor], spans: Mapping[str, slice], candidates: Sequence[str], task: str
) -> dict[str, float]:
    """Mean over layers of the cosine between the centroid of each candidate and the task's."""
    found = dict.fromkeys(candidates, 0.0)
    for unit_NK in layers:
        wanted = unit_NK[spans[f"task:{task}"]].mean(0)
        for name in candidates:
            cosine = functional.cosine_similarity(unit_NK[spans[name]].mean(0), wanted, dim=0)
            found[name] += float(cosine) / len(layers)
    return found


def _won(
    layers: Sequence[torch.Tensor], spans: Mapping[str, slice], candidates: Sequence[str], task: str
) -> dict[str, float]:
    """The share of draws of the task's texts in which each candidate comes first: below .95 the choice is undecided."""
    generator = np.random.default_rng(0)
    span = spans[f"task:{task}"]
    count = span.stop - span.start
    weights_RN = torch.from_numpy(generator.multinomial(count, [1 / count] * count, size=DRAWS) / count).float()
    total_RC = torch.zeros(DRAWS, len(candidates))
    for unit_NK in layers:
        centroids_CK = torch.stack([unit_NK[spans[name]].mean(0) for name in candidates])
        drawn_RK = functional.normalize(weights_RN @ unit_NK[span], dim=1)
        total_RC += drawn_RK @ functional.normalize(centroids_CK, dim=1).T
    first = total_RC.argmax(1)
    return {name: float((first == place).float().mean()) for place, name in enumerate(candidates)}


def _ranked(scores: Mapping[str, float], with_own: bool, task: str) -> list[str]:
    allowed = [name for name in scores if with_own or name != task]
    return sorted(allowed, key=lambda name: -scores[name])


def _verify(config: ChooseConfig, run: Run, opened: OpenedModel, sets: Sets) -> None:
    wanted = [(sparsity, name) for sparsity in config.sparsities for name in config.candidates]
    todo = [each for each in wanted if f"pruned/{each[0]}/{each[1]}" not in run.rows]
    tasks = [ids for task in config.tasks for ids in sets.report[task]]
    for sparsity, name in track(todo, "Pruned models", done=len(wanted) - len(todo)):
        plan = allocate.uniform(sparsity, opened.num_layers)
        found = losses_after(opened, sets.calibration[name], tasks, Pruner("wanda"), plan)
        ends = np.cumsum([len(sets.report[task]) for task in config.tasks])[:-1]
        parts = dict(zip(config.tasks, (float(part.mean()) for part in np.split(found, ends)), strict=True))
        run.add(f"pruned/{sparsity}/{name}", {"sparsity": sparsity, "set": name, "losses": parts})


def judged(rows: Mapping[str, Any], config: ChooseConfig) -> dict[str, Any]:
    """Of each method: in what share of the cases it chose the best set, and its mean regret in perplexity."""
    scores, cases = rows["scores"]["by_method"], []
    for sparsity in config.sparsities:
        for task in config.tasks:
            names = [name for name in config.candidates if config.with_own or name != task]
            truth = {name: rows[f"pruned/{sparsity}/{name}"]["losses"][task] for name in names}
            picks = {
                method: max(names, key=lambda name, method=method: scores[method][task][name])
                for method in ("patterns", "hidden", "unigram", "dense_loss")
            }
            best = min(truth, key=lambda name: truth[name])
            cases.append({"sparsity": sparsity, "task": task, "best": best, "losses": truth, "picks": picks})
    methods = {method: _score_method(cases, method) for method in ("patterns", "hidden", "unigram", "dense_loss")}
    random = [float(np.mean(np.exp([loss - min(c["losses"].values()) for loss in c["losses"].values()]) - 1)) for c in cases]
    share = float(np.mean([1 / len(case["losses"]) for case in cases]))
    methods["random"] = {"right": share, "regret": float(np.mean(random))}
    return {
        "methods": methods,
        "cases": cases,
        "right": methods["patterns"]["right"],
        "regret": methods["patterns"]["regret"],
    }


def _score_method(cases: Sequence[Mapping[str, Any]], method: str) -> dict[str, float]:
    right = [case["picks"][method] == case["best"] for case in cases]
    regrets = [np.exp(case["losses"][case["picks"][method]] - case["losses"][case["best"]]) - 1 for case in cases]
    return {"right": float(np.mean(right)), "regret": float(np.mean(regrets))}


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = []
    for task, ranked in metrics["ranking"].items():
        won = metrics["scores"]["won"][task][ranked[0]]
        words = f"first in {won:.0%} of the draws" if won >= 0.95 else f"undecided: first in {won:.0%} of the draws"
        lines.append(f"{task:>10}: {', '.join(ranked[:3])} ({words})")
    for method, found in metrics.get("methods", {}).items():
        lines.append(
            f"{method:>10}: best set in {found['right']:.0%} of the cases, regret {found['regret']:.2%} of perplexity"
        )
    return "\n".join(lines)
