"""Labels of one's own correct the judge's rates: a person reads a random few answers, the judge reads them all.

    {"model": "smollm2", "template": "ccc", "problem": "...", "flagged": true}      one JSON object a line

`flagged` is whether the answer says that its problem makes no sense. The correction is prediction-powered: it
holds only if the labelled answers were drawn at random.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError
from tenfold.evals.statistics import prediction_powered
from tenfold.systems.ump.measures import Answered

FORM = '{"model", "template", "problem", "flagged": true or false}'
FEWEST = 2
"""Labels below which no spread can be told."""

Labels = Mapping[tuple[str, str, str], bool]


def read_labels(path: Path) -> Labels:
    """Labels by (model, template, problem).

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is not of that form, or labels an answer twice.
    """
    labels: dict[tuple[str, str, str], bool] = {}
    for number, row in enumerate(jsonl.read(path), start=1):
        if not isinstance(row, dict) or not isinstance(row.get("flagged"), bool):
            raise ConfigError(f"{path} label {number} is {row!r}; {FORM} is accepted")
        try:
            key = (str(row["model"]), str(row["template"]), str(row["problem"]))
        except KeyError as error:
            raise ConfigError(f"{path} label {number} lacks {error}; {FORM} is accepted") from None
        if key in labels:
            raise ConfigError(f"{path} label {number} is the second one for {key}; give one label an answer")
        labels[key] = row["flagged"]
    return labels


def of_group(labels: Labels, model: str, template: str) -> dict[str, bool]:
    """The labels of one model under one template (or set), by problem."""
    return {problem: flagged for (who, how, problem), flagged in labels.items() if (who, how) == (model, template)}


def corrected(answers: Sequence[Answered], flagged: Mapping[str, bool]) -> dict[str, Any]:
    """For flawed and for sound problems: the judge's share of flagged answers, and the share that the labels make of it.

    `value` with its 95 % interval is None where fewer than two answers are labelled. Where all are, the labels are the rate.
    """
    sides = {"flawed": False, "sound": True}
    return {name: _corrected([a for a in answers if a.problem.sound is sound], flagged) for name, sound in sides.items()}


def _corrected(answers: Sequence[Answered], flagged: Mapping[str, bool]) -> dict[str, Any] | None:
    judged = [(answer.problem.id, answer.probability) for answer in answers if answer.probability is not None]
    if not judged:
        return None
    known = [(probability, float(flagged[key])) for key, probability in judged if key in flagged]
    rest = [probability for key, probability in judged if key not in flagged]
    row = {"answers": len(judged), "labels": len(known), "judge": sum(p >= 0.5 for _, p in judged) / len(judged)}
    if len(known) < FEWEST:
        return row | {"value": None, "low": None, "high": None}
    if not rest:
        truth = sum(label for _, label in known) / len(known)
        return row | {"value": truth, "low": truth, "high": truth}
    return row | asdict(prediction_powered(rest, [p for p, _ in known], [label for _, label in known]))
