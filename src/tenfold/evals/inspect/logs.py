"""Samples of an Inspect log as plain records, for measures and pages that know nothing of Inspect."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.core.errors import MissingArtifactError
from tenfold.llm.chat import Usage

if TYPE_CHECKING:
    from inspect_ai.log import EvalError, EvalSample
    from inspect_ai.scorer import Score

LONGEST_REASON = 300
NOT_NEEDED = {"events", "events_data", "timelines"}


@dataclass(frozen=True)
class Mark:
    """What one scorer said; `value` is None where it left the mark open, and `reason` says why."""

    value: Any
    answer: str | None = None
    explanation: str | None = None
    reason: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleRecord:
    """One sample of a log in one epoch."""

    id: str
    epoch: int
    target: str
    metadata: Mapping[str, Any]
    """The sample's own, and what solvers added."""
    answer: str
    """The last answer, without reasoning; empty where there is none."""
    reasoning: str
    stop_reason: str
    """stop, max_tokens, content_filter ...; `error` where no answer came."""
    usage: Usage
    """Tokens of the last call, also if it was answered from the cache."""
    seconds: float | None
    """Time of the last call when it was made."""
    output: Mapping[str, Any]
    """The provider's metadata: `fingerprint`, `candidate_logprobs`, `candidate_tokens`."""
    answers: tuple[str, ...]
    """Every answer of the conversation, in order."""
    scores: Mapping[str, Mark]
    error: str | None
    """Why the apparatus failed, or None; such a sample has no marks."""


def read_log(path: Path) -> Iterator[SampleRecord]:
    """The samples of a log in its order, also of a log that is not finished.

    Raises:
        MissingArtifactError: there is no such file.
    """
    from inspect_ai.log import read_eval_log  # takes more than a second, hence not before a log is read

    if not path.is_file():
        raise MissingArtifactError(f"no log {str(path)!r}; give the path of an .eval file")
    log = read_eval_log(path, resolve_attachments="core", exclude_fields=NOT_NEEDED)
    yield from map(_record, log.samples or [])


def why(error: "EvalError") -> str:
    """An error of a log in one line: what its traceback says last, without the name of the class."""
    said = (error.traceback.strip() or error.message.strip() or "no reason given").splitlines()
    named = [place for place, line in enumerate(said) if re.match(r"[\w.]+: ", line)]
    text = " ".join(" ".join(said[named[-1] if named else -1 :]).split())
    return re.sub(r"^[\w.]+: ", "", text)[:LONGEST_REASON]


def _record(sample: "EvalSample") -> SampleRecord:
    output = sample.output
    answered = bool(output.choices)
    return SampleRecord(
        id=str(sample.id),
        epoch=sample.epoch,
        target=sample.target if isinstance(sample.target, str) else "\n".join(sample.target),
        metadata=sample.metadata,
        answer=output.completion,
        reasoning=_reasoning(sample) if answered else "",
        stop_reason=output.stop_reason if answered else "error",
        usage=_usage(sample),
        seconds=output.time,
        output=output.metadata or {},
        answers=tuple(message.text for message in sample.messages if message.role == "assistant"),
        scores={name: _mark(score) for name, score in (sample.scores or {}).items()},
        error=why(sample.error) if sample.error else None,
    )


def _reasoning(sample: "EvalSample") -> str:
    parts = sample.output.message.content_list
    return "\n".join(part.reasoning for part in parts if part.type == "reasoning")


def _usage(sample: "EvalSample") -> Usage:
    usage = sample.output.usage
    if usage is None:
        return Usage()
    return Usage(usage.input_tokens, usage.output_tokens, usage.reasoning_tokens or 0)


def _mark(score: "Score") -> Mark:
    value = None if isinstance(score.value, float) and math.isnan(score.value) else score.value
    return Mark(value, score.answer, score.explanation, score.reason, score.metadata or {})
