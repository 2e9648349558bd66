"""The verb `facets`: which pictures are humorous, critical and so on, by whom, and how a run's answers differ between them.

A user's tags come from a file; a model's are made here and kept apart. With a run of `run`, each source gets its own table:
facet, number of questions, accuracy with its interval, and the difference from the rest with Holm's p; no number below 20.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError, UserError
from tenfold.core.records import Metrics
from tenfold.llm.chat import ChatModel
from tenfold.store import runs
from tenfold.store.runs import Run
from tenfold.systems.deepeval import comparisons, measures, opening
from tenfold.systems.deepeval.data import load_annotations
from tenfold.systems.deepeval.items import Annotation
from tenfold.systems.deepeval.tagging import Tagger, prompt_sha256
from tenfold.systems.deepeval.tags import FACETS, Tag, agreement, present, read_tags


class FacetsConfig(Config):
    """Tag pictures with facets, compare tags, and break a run's accuracy down by them."""

    data: str = "deepeval"
    """Annotations: deepeval, scenes, a folder of a set, or a file of annotations."""
    facets: Names = FACETS
    """The facets that there are."""
    tags: str | None = None
    """A user's tags: image_id,facet,source,confidence as .csv or .jsonl."""
    model: str | None = None
    """Have a model judge every facet: smollm2, a folder, a hub id, or openai:NAME."""
    limit: int | None = Field(default=None, ge=1)
    """Judge only the first pictures."""
    answers: str | None = None
    """A run directory of `tenfold deepeval run`, whose answers the table breaks down."""
    dtype: str = "auto"
    """Weights of local models: auto (as stored), bf16 or fp32."""


def facets(config: FacetsConfig, run: Run, *, model: ChatModel | None = None) -> Metrics:
    """Reads and makes tags, and tables them.

    Raises:
        UserError: neither tags nor a model is given, or tags of unknown pictures.
        ApparatusError: the model could not be asked.
    """
    if not (config.tags or config.model):
        raise UserError("there is nothing to do; give --tags FILE, --model NAME, or both")
    annotations = load_annotations(config.data)
    theirs = read_tags(Path(config.tags), config.facets) if config.tags else []
    _check_pictures(theirs, annotations)
    ours = _judged(config, list(annotations.values())[: config.limit], run, model)
    sources = {"user": theirs, "model": ours}
    answers = runs.read_rows(Path(config.answers)) if config.answers else []
    return {
        "data": config.data,
        "facets": list(config.facets),
        "counts": {name: _counts(tags, config.facets) for name, tags in sources.items() if tags},
        "kappa": agreement(ours, theirs, config.facets),
        "tables": {name: tables(answers, tags) for name, tags in sources.items() if tags and answers},
        **({"model": config.model, "prompt_sha256": prompt_sha256()} if config.model else {}),
    }


def _check_pictures(tags: Sequence[Tag], annotations: Mapping[str, Annotation]) -> None:
    unknown = sorted({tag.image_id for tag in tags} - annotations.keys())
    if unknown:
        raise ConfigError(
            f"{len(unknown)} tagged pictures are not in the data, such as {unknown[0]!r}; check their image_id"
        )


def _judged(config: FacetsConfig, chosen: Sequence[Annotation], run: Run, model: ChatModel | None) -> list[Tag]:
    if not config.model:
        return []
    model = model or opening.open_model(config.model, dtype=config.dtype)
    return Tagger(model, opening.concurrency(config.model)).tag(chosen, config.facets, run)


def _counts(tags: Sequence[Tag], facets: Sequence[str]) -> dict[str, int]:
    found = present(tags).values()
    return {facet: sum(facet in of for of in found) for facet in facets} | {"pictures": len(found)}


def tables(answers: Sequence[Mapping[str, Any]], tags: Sequence[Tag]) -> list[dict[str, Any]]:
    """For each model, task and arm of a run the table of facets; questions of untagged pictures are left out."""
    of = present(tags)
    rows = [
        {**row, "facets": sorted(of[row["image_id"]])}
        for row in answers
        if row.get("kind") == "answer" and row["image_id"] in of
    ]
    return [
        {"model": name, "task": task, "arm": arm, "facets": comparisons.facets(group, "off")}
        for (name, task, arm), group in measures.grouped(rows).items()
    ]


def summary(metrics: Metrics) -> str:
    """How many pictures have each facet, by source; agreement; tables."""
    lines = []
    for source, counts in metrics["counts"].items():
        found = ", ".join(f"{facet} {counts[facet]}" for facet in metrics["facets"])
        lines.append(f"{source}: of {counts['pictures']} pictures {found}")
    lines += [f"kappa {facet}: {of['kappa']:.2f} (n = {of['n']})" for facet, of in metrics["kappa"].items()]
    for source, listed in metrics["tables"].items():
        for table in listed:
            lines.append(f"{source} tags, {table['model']}, {table['task']}, {table['arm']}:")
            lines += [_line(line) for line in table["facets"]]
    return "\n".join(lines)


def _line(line: Mapping[str, Any]) -> str:
    if "accuracy" not in line:
        return f"  {line['facet']:<16} n = {line['n']}: too few for a number"
    low, high = line["accuracy_ci"]
    return f"  {line['facet']:<16} n = {line['n']}: {line['accuracy']:.1%} (95 % {low:.1%} to {high:.1%})"
