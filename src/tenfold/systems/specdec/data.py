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
RANDOM = "random"
RANDOM_LENGTHS = (16, 64, 256)
"""Tokens of the random prompts; eight prompts of each length."""
MT_BENCH = "mt_bench"
SUBTASKS = (MT_BENCH, "translation", "summarization", "qa", "math_reasoning", "rag", RANDOM)


@dataclass(frozen=True)
class Question:
    """One conversation: its turns are asked one after the other."""

    question_id: int
    category: str
    turns: Sequence[str]
    num_random_tokens: int = 0
    """If not 0, the prompt is this many random token ids instead of a text."""

    @property
    def subtask(self) -> str:
        return self.category if self.category in SUBTASKS else MT_BENCH


def load_questions(name: str, *, limit_per_task: int | None = None) -> list[Question]:
    """Reads `demo` (our own 24 prompts), `specbench`, or a file in Spec-Bench's format; `random` is 24 random prompts.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a row lacks a key, or the file holds no question.
    """
    if name == RANDOM:
        return _random_questions()[:limit_per_task]
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


def _random_questions() -> list[Question]:
    """Prompts in which nothing can be guessed; lengths alternate, so that the first few hold each."""
    lengths = RANDOM_LENGTHS * 8
    return [
        Question(number, RANDOM, (f"{length} random tokens",), num_random_tokens=length)
        for number, length in enumerate(lengths, start=1)
    ]


def _demo_path() -> Path:
    return Path(str(files("tenfold.systems.specdec") / "prompts" / "demo.jsonl"))
