"""The analyses of a mixture: a subject (model, text, trace of its choices) comes in, one row of numbers each goes out.

loads         how evenly experts are used            disable_top   loss without each token's favourite experts
fewer_k       loss with fewer experts per token      shared_swap   loss with routed experts in place of the shared
domain        preference of domains for experts      vocabulary    preference of tokens, as input and as output
coactivation  which experts are chosen together      saturation    how early choices settle (needs earlier models)
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from tenfold.core.errors import ConfigError, NumericalError
from tenfold.nn import models
from tenfold.systems.moe import specialisation
from tenfold.systems.moe.comparison import LossTable
from tenfold.systems.moe.interventions import disabled_top, fewer_chosen, without_routed, without_shared
from tenfold.systems.moe.loads import load_reports, summed
from tenfold.systems.moe.trace import Trace, trace
from tenfold.systems.moe.unit import held_out_loads, measure
from tenfold.train.packed_corpus import Corpus

SHARES = (1 / 16, 2 / 16, 3 / 16, 4 / 16)
"""Of the routed experts; those of figure 4 in the paper."""
INTACT = "intact"
SHOWN_PAIRS = 5


@dataclass(frozen=True)
class Subject:
    """What every analysis is given."""

    model: PreTrainedModel
    corpus: Corpus
    trace: Trace
    earlier: Sequence[str] = ()
    devices: int = 1


def traced(model: PreTrainedModel, corpus: Corpus, name: str) -> Trace:
    """The model's choices on the held-out text; NumericalError where a router gives no numbers."""
    found = trace(model, corpus.held_out_NS, corpus.documents, corpus.domains, name=name)
    for layer, score_TK in enumerate(found.score_LTK):
        if not np.isfinite(score_TK).all():
            raise NumericalError(
                f"the router of mixture layer {layer} gives scores that are no numbers; check the checkpoint"
            )
    return found


def _losses(subject: Subject, conditions: Mapping[str, AbstractContextManager[None]]) -> dict[str, Any]:
    """Held-out loss under each condition, and by how much it is above that of the intact model."""
    rows = {}
    for name, condition in {INTACT: nullcontext(), **conditions}.items():
        with condition:
            rows[name] = measure_losses(subject.model, subject.corpus)
    table = LossTable({name: [row["held_out"]] for name, row in rows.items()}, rows[INTACT]["held_out_tokens"])
    found = {}
    for name in rows:
        more = table.estimate(lambda own, intact: own - intact, name, INTACT)
        found[name] = {"loss": table.loss(name), "added": more.value, "ci": more.interval}
    return found


def measure_losses(model: PreTrainedModel, corpus: Corpus) -> dict[str, Any]:
    """Held-out loss by document; loads are not looked at, as an intervention changes what a router says."""
    return measure(model, corpus, loads=False)


def _loads(subject: Subject) -> dict[str, Any]:
    counts = held_out_loads(subject.model, subject.corpus.held_out_NS)
    reports = load_reports(counts, subject.devices)
    layers = [asdict(report) | {"layer": name} for name, report in reports.items()]
    shares = [(count / count.sum()).tolist() for count in counts.values()]
    return {"summary": summed(list(reports.values())), "layers": layers, "shares": shares}


def _disable_top(subject: Subject) -> dict[str, Any]:
    model, seeds = subject.model, torch.Generator
    top = {f"{share:g}": disabled_top(model, share) for share in SHARES}
    control = {f"{share:g}, random": disabled_top(model, share, at_random=seeds().manual_seed(0)) for share in SHARES}
    return {"conditions": _losses(subject, {**top, **control})}


def _fewer_k(subject: Subject) -> dict[str, Any]:
    most = subject.model.config.num_experts_per_tok
    return {"conditions": _losses(subject, {str(count): fewer_chosen(subject.model, count) for count in range(1, most)})}


def _shared_swap(subject: Subject) -> dict[str, Any]:
    model = subject.model
    return {
        "conditions": _losses(subject, {"without shared": without_shared(model), "without routed": without_routed(model)})
    }


def _domain(subject: Subject) -> dict[str, Any]:
    found, kinds = subject.trace, len(subject.trace.domains)
    layers = specialisation.measured(found, found.domain_T, kinds, by_document=True)
    middle = len(found.expert_LTK) // 2
    counts = specialisation.class_counts(found.expert_LTK[middle], found.domain_T, kinds, found.num_experts)
    return {
        **_listed(layers),
        **_estimate(specialisation.interval(found, found.domain_T, kinds)),
        "domains": list(found.domains),
        "layer": middle,
        "preference": specialisation.preference(counts).tolist(),
    }


def _vocabulary(subject: Subject) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, token_T in (("input", subject.trace.token_T), ("output", subject.trace.next_T)):
        class_T, kept = specialisation.token_classes(token_T)
        if not len(kept):
            raise ConfigError(f"no token occurs {specialisation.SEEN_ENOUGH} times in the text; give more of it")
        layers = specialisation.measured(subject.trace, class_T, len(kept), by_document=False)
        found[name] = {
            **_listed(layers),
            **_estimate(specialisation.interval(subject.trace, class_T, len(kept))),
            "tokens": len(kept),
        }
    return found


def _coactivation(subject: Subject) -> dict[str, Any]:
    found = subject.trace
    layers = [specialisation.coactivation(expert_TK, found.num_experts) for expert_TK in found.expert_LTK]
    middle = layers[len(layers) // 2]
    highest = [float(matrix.max(1).mean()) for matrix in layers]
    pairs = np.dstack(np.unravel_index(middle.ravel().argsort()[::-1][:SHOWN_PAIRS], middle.shape))[0]
    return {
        "layer": len(layers) // 2,
        "matrix": middle.round(4).tolist(),
        "highest": highest,
        "expected": (found.expert_LTK.shape[-1] - 1) / max(found.num_experts - 1, 1),
        "pairs": [[int(i), int(j), float(middle[i, j])] for i, j in pairs],
    }


def _saturation(subject: Subject) -> dict[str, Any]:
    chance = subject.trace.expert_LTK.shape[-1] / subject.trace.num_experts
    steps = {}
    for name in subject.earlier:
        model = _earlier(name, subject)
        steps[Path(name).name] = specialisation.saturation(traced(model, subject.corpus, name), subject.trace).tolist()
    return {"overlap": steps, "chance": chance}


def _earlier(name: str, subject: Subject) -> PreTrainedModel:
    model = models.load_transformers(name)
    if model.config.num_hidden_layers != subject.model.config.num_hidden_layers:
        raise ConfigError(f"{name} is another model; give earlier checkpoints of the same training")
    return model


ANALYSES: Mapping[str, Callable[[Subject], dict[str, Any]]] = {
    "loads": _loads,
    "disable_top": _disable_top,
    "fewer_k": _fewer_k,
    "shared_swap": _shared_swap,
    "domain": _domain,
    "vocabulary": _vocabulary,
    "coactivation": _coactivation,
    "saturation": _saturation,
}


def _listed(layers: Mapping[str, Any]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in layers.items()}


def _estimate(found: Any) -> dict[str, Any]:
    return {"value": found.value, "ci": found.interval}
