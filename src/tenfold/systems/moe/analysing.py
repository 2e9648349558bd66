"""The verb `analyse`: what the experts of a mixture do, on held-out text. Each analysis is one row, so a run can go on."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from transformers import PreTrainedModel

from tenfold.core.config import Config, Names, parse
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.moe.analyses import ANALYSES, INTACT, Subject, traced
from tenfold.systems.moe.interventions import num_shared
from tenfold.systems.moe.opened import open_mixture
from tenfold.train.packed_corpus import CorpusConfig, load_corpus


class AnalysisCorpus(CorpusConfig):
    """The text; its held-out documents are analysed, in the tokens of the model."""

    length: int = Field(128, ge=8)
    """Tokens in a block."""
    limit_characters: int | None = Field(2_000_000, ge=1000)
    """Use only as many documents, in shuffled order, as this holds."""
    blocks_per_document: int = Field(4, ge=1)
    """Most blocks of one document."""


class AnalyseConfig(Config):
    """Find out what the experts of a mixture do: any mixture of experts that Transformers loads."""

    model: str
    """A run of moe, a folder or a hub id."""
    what: Names = ()
    """Which analyses; left empty, all that this model has a use for."""
    earlier: Names = ()
    """Earlier checkpoints of the same training, for saturation; oldest first."""
    devices: int = Field(1, ge=1)
    """Groups of experts whose loads are reported too."""
    dtype: models.Dtype = "auto"
    """Type of the weights."""
    corpus: AnalysisCorpus = parse(AnalysisCorpus, {})
    """The text."""


def analyse(config: AnalyseConfig, run: Run) -> Metrics:
    """Runs the analyses that the run does not hold yet."""
    model, _ = open_mixture(config.model, config.dtype)
    wanted = _wanted(config, model)
    corpus = load_corpus(config.corpus.model_copy(update={"tokenizer": _tokenizer_source(config.model)}))
    todo = [name for name in wanted if name not in run.rows]
    if todo:
        subject = Subject(model, corpus, traced(model, corpus, config.model), config.earlier, config.devices)
        subject.trace.save(run.folder / "trace.npz")
        for name in track(todo, "Analyses", done=len(wanted) - len(todo)):
            run.add(name, ANALYSES[name](subject))
    return {
        "model": config.model,
        "type": model.config.model_type,
        "experts": _num_experts(model),
        "chosen": model.config.num_experts_per_tok,
        "shared": num_shared(model),
        "documents": len(set(corpus.documents)),
        "tokens": int(corpus.held_out_NS.numel()),
        "analyses": {name: _brief(name, run.rows[name]) for name in wanted},
    }


def _wanted(config: AnalyseConfig, model: PreTrainedModel) -> tuple[str, ...]:
    if unknown := [name for name in config.what if name not in ANALYSES]:
        raise ConfigError(f"what: {unknown[0]!r} is unknown; accepted are {', '.join(ANALYSES)}")
    if config.what:
        if "saturation" in config.what and not config.earlier:
            raise ConfigError("saturation needs earlier checkpoints; give them with --earlier, oldest first")
        return config.what
    hashed = getattr(model.config, "router", "topk") == "hash"
    useless = {"shared_swap"} if not num_shared(model) else set()
    useless |= {"disable_top", "fewer_k", "shared_swap"} if hashed else set()
    useless |= {"fewer_k"} if model.config.num_experts_per_tok < 2 else set()
    useless |= set() if config.earlier else {"saturation"}
    return tuple(name for name in ANALYSES if name not in useless)


def _tokenizer_source(name: str) -> str:
    return str(Path(name) / "model") if (Path(name) / "model" / "config.json").is_file() else name


def _num_experts(model: PreTrainedModel) -> int:
    config: Any = model.config
    names = ("n_routed_experts", "num_experts", "num_local_experts")
    return next(int(found) for name in names if (found := getattr(config, name, None)))


def _brief(name: str, row: Mapping[str, Any]) -> Any:
    """The numbers of an analysis; matrices stay in its row."""
    if "conditions" in row:
        return row["conditions"]
    match name:
        case "loads":
            return row["summary"]
        case "domain":
            return _brief_classes(row)
        case "vocabulary":
            return {side: _brief_classes(row[side]) for side in ("input", "output")}
        case "coactivation":
            return {"highest": _mean(row["highest"]), "expected": row["expected"]}
        case _:
            return {"overlap": {step: _mean(each) for step, each in row["overlap"].items()}, "chance": row["chance"]}


def _brief_classes(row: Mapping[str, Any]) -> dict[str, Any]:
    means = {key: _mean(row[key]) for key in ("specialisation_null", "nmi", "nmi_null")}
    return {"specialisation": row["value"], "ci": row["ci"], **means}


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{metrics['type']} with {metrics['experts']} routed experts, {metrics['chosen']} chosen, {metrics['shared']} "
        f"shared, on {metrics['documents']} documents"
    ]
    for name, found in metrics["analyses"].items():
        lines += [f"{name}: {text}" for text in _told(name, found)]
    return "\n".join(lines)


def _told(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    if INTACT in found:
        yield f"{found[INTACT]['loss']:.4f} intact" + "".join(
            f"; {condition} {each['added']:+.4f} ({each['ci'][0]:+.4f} to {each['ci'][1]:+.4f})"
            for condition, each in found.items()
            if condition != INTACT
        )
    elif name == "loads":
        yield f"MaxVio {found['max_violation']:.2f}, CV {found['variation']:.2f}, {found['dead']} dead"
    elif name == "vocabulary":
        yield from (f"{side} {_classes_told(each)}" for side, each in found.items())
    elif name == "domain":
        yield _classes_told(found)
    elif name == "coactivation":
        yield f"a partner is chosen along in {found['highest']:.0%} of cases, {found['expected']:.0%} by chance"
    else:
        yield "; ".join(f"{step} {each:.0%}" for step, each in found["overlap"].items()) + f"; chance {found['chance']:.0%}"


def _classes_told(found: Mapping[str, Any]) -> str:
    low, high = found["ci"]
    return (
        f"favourite expert {found['specialisation']:.2f} times an even share ({low:.2f} to {high:.2f}; shuffled "
        f"{found['specialisation_null']:.2f}), NMI {found['nmi']:.3f} (shuffled {found['nmi_null']:.3f})"
    )
