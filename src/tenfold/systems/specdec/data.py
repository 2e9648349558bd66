"""Prompts to measure on: Spec-Bench's file format, and 24 prompts of our own that ship with the package.

A row is {question_id, category, turns}; the eight mt_bench categories form one subtask, each other category its own.
Extended Spec-Bench files with further keys are accepted; the further keys are ignored.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError
from tenfold.store.artifacts import find_data

DEMO = "demo"
MT_BENCH = "mt_bench"
SUBTASKS = (MT_BENCH, "translation", "summarization", "qa", "math_reasoning", "rag")


@dataclass(frozen=True)
class Question:
    """One conversation: its turns are asked one after the other."""

    question_id: int
    category: str
    turns: Sequence[str]

    @property
    def subtask(self) -> str:
        return self.category if self.category in SUBTASKS else MT_BENCH


def load_questions(name: str, *, limit_per_task: int | None = None) -> list[Question]:
    """Reads `demo` (our own 24 prompts), `specbench`, or a file in Spec-Bench's format.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a row lacks a key, or the file holds no question.
    """
    path = _demo_path() if name == DEMO else find_data(name)
    questions = [_question(row, path) for row in jsonl.read(path)]
    if not questions:
        raise ConfigError(f"{path} holds no question; one {{question_id, category, turns}} object a line is accepted")
    return questions if limit_per_task is None else _first_per_task(questions, limit_per_task)


def _first_per_task(questions: Iterable[Question], limit: int) -> list[Question]:
    """At most `limit` questions of each subtask; of mt_bench one of each category first, then the next of each."""
    by_task: dict[str, list[Question]] = defaultdict(list)
    for question in _round_robin(questions):
        by_task[question.subtask].append(question)
    return [question for task in by_task.values() for question in task[:limit]]


def _round_robin(questions: Iterable[Question]) -> list[Question]:
    seen: dict[str, int] = defaultdict(int)
    ranked = []
    for question in questions:
        ranked.append((seen[question.category], question))
        seen[question.category] += 1
    return [question for _, question in sorted(ranked, key=lambda pair: pair[0])]


def _question(row: Any, path: Path) -> Question:
    try:
        question = Question(int(row["question_id"]), str(row["category"]), tuple(row["turns"]))
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{path}: a row has no question_id, category and turns; Spec-Bench's format is accepted") from None
    if not question.turns or not all(isinstance(turn, str) and turn for turn in question.turns):
        raise ConfigError(f"{path}: question {question.question_id} has an empty turn; give a list of texts")
    return question


def _demo_path() -> Path:
    return Path(str(files("tenfold.systems.specdec") / "prompts" / "demo.jsonl"))
