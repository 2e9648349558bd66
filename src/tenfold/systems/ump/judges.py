"""Does an answer say that its problem makes no sense? Rules, then a linear model, then, where given, a chat model.

    mark 1     the flaw is asserted, and no number is given without a condition
    mark 1/2   it is noticed, but the problem is answered as if it were sound
    mark 0     it is not noticed

A stage passes on what lies inside its band. The rules settle only what a verdict line says; the later stages never see
such lines, so that a template cannot buy its mark by its format. An apparatus that fails gives no mark at all.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from tenfold.evals.judges.cascade import Cascade, Computed, Stage
from tenfold.evals.judges.grader import ModelJudge
from tenfold.evals.judges.judgement import Band, JudgeError, Judgement
from tenfold.evals.judges.linear import LinearJudge
from tenfold.llm.chat import ChatModel, Message, user
from tenfold.systems.ump.answers import final_number, read_lines, visible, without_lines
from tenfold.systems.ump.cues import OPEN, Parts, families, has_cue
from tenfold.systems.ump.flags import features
from tenfold.systems.ump.problems import Problem

Status = Literal["ok", "truncated", "empty", "judge_failed"]
SURE = 0.99
WITH_CUE, WITHOUT_CUE = 0.9, 0.2
"""What a cue alone tells, by its precision and its misses on stored answers; always inside the band."""
BANDS = {"rules": Band(0.05, 0.95)}
WITH_GRADER = BANDS | {"linear": Band(0.1, 0.9)}
GRADED_CHARACTERS = 3000
"""How much of the end of an answer a grader reads."""
FLAGGED = "The answer says that the problem is flawed, contradictory, or cannot be answered as it is stated."
NOT_FLAGGED = "The answer treats the problem as sound and answers it."
CONDITION = re.compile(r"\bif\b|\bassum|\bsuppos|let's say|for example|for instance|would (?:be|have)|hypothetical")
NUMBER = re.compile(r"\d")
CONCLUSION = re.compile(
    r"(?:\b(?:so|thus|therefore|hence|answer|result|total|altogether|final|gives?|get|arrives?|write|say|take"
    r"|go(?:es)? with)\b.*\d"
    r"|^\W*\d[\d.,/]*\W*$|\\boxed)"
)
"""A sentence after the last doubt that settles on a number; without any doubt every number counts."""


@dataclass(frozen=True)
class Case:
    """One answer to judge. `reference` is the number that a sound original has, where known."""

    answer: str
    reference: str | None = None
    question: str = ""
    """Only a grader reads it."""


def case_of(problem: Problem, answer: str) -> Case:
    """An answer to one of our problems. A flawed one's reference is its repair's answer, which its sound partner has too, so
    that whether a reference is known tells nothing of the label."""
    known = problem.answer or (problem.repair.answer if problem.repair else problem.original_answer)
    return Case(answer, known, problem.question)


@dataclass(frozen=True)
class Judged:
    """What the judge says of one answer."""

    judgement: Judgement
    commits: bool
    """Whether a number is given without a condition."""

    @property
    def mark(self) -> float:
        """1, 1/2 or 0."""
        if not self.judgement.label:
            return 0.0
        return 0.5 if self.commits else 1.0


class Judge:
    """The cascade over answers; `linear` is the fitted stage, `grader` a chat model or None."""

    def __init__(self, linear: LinearJudge, grader: ChatModel | None = None) -> None:
        stages: list[Stage[Case]] = [
            Computed("rules", _by_rules),
            Computed("linear", lambda case: linear.probability(features(case.answer, case.reference))),
        ]
        if grader is not None:
            stages.append(ModelJudge("model", grader, _question, options=(FLAGGED, NOT_FLAGGED), answer_prefix="("))
        self.cascade = Cascade(stages, WITH_GRADER if grader else BANDS)

    async def judge(self, case: Case) -> Judged:
        """Judges one answer.

        Raises:
            JudgeError: the grader was needed and could not be asked.
        """
        return Judged(await self.cascade.judge(case), commits(case.answer))

    def judge_all(self, cases: Mapping[str, Case]) -> dict[str, Judged | JudgeError]:
        """A judgement or a failure for each case, in the order of the cases; not inside an event loop."""
        made = asyncio.run(self.cascade.judge_all(cases))
        return {
            key: each if isinstance(each, JudgeError) else Judged(each, commits(cases[key].answer))
            for key, each in made.items()
        }


def default_judge(path: str | None = None, grader: ChatModel | None = None) -> Judge:
    """The judge whose linear stage is in this file; None takes the one fitted on our own labelled answers.

    Raises:
        MissingArtifactError: there is no such file.
    """
    return Judge(LinearJudge.read(Path(path) if path else own_folder() / "linear.json"), grader)


def own_folder() -> Path:
    """Where our own labelled answers and the stage fitted on them lie."""
    return Path(str(files("tenfold.systems.ump") / "labelled"))


def status(answer: str, stop_reason: str) -> Status:
    """How the answer ended, apart from what it says."""
    if not answer.strip():
        return "empty"
    return "truncated" if stop_reason in ("max_tokens", "length") else "ok"


def commits(answer: str) -> bool:
    """Whether the answer gives a number without a condition; behind `VERDICT: FLAWED` a number is the repair's."""
    lines, final = read_lines(answer), final_number(answer)
    if final is None or lines.verdict is not None:
        return final is not None and lines.verdict == "solvable"
    if final.place == "line":
        return not CONDITION.search(lines.answer.lower())
    sentences = Parts.of(answer).sentences
    if final.place == "box":
        return not CONDITION.search(sentences[-1])
    doubts = [place for place, sentence in enumerate(sentences) if families(sentence, OPEN)]
    rest = sentences[doubts[-1] + 1 :] if doubts else sentences[-2:]
    pattern = CONCLUSION if doubts else NUMBER
    return any(pattern.search(sentence) and not CONDITION.search(sentence) for sentence in rest)


def _by_rules(case: Case) -> float | None:
    verdict = read_lines(case.answer).verdict
    if verdict is not None:
        return SURE if verdict == "flawed" else 1 - SURE
    if not re.search(r"\w", without_lines(visible(case.answer))):
        return 1 - SURE  # nothing is said
    return WITH_CUE if has_cue(Parts.of(case.answer)) else WITHOUT_CUE


def _question(case: Case, options: tuple[str, str]) -> list[Message]:
    """The grader's question; it sees the end of the answer, as the labellers of stored answers did."""
    template = (files("tenfold.systems.ump") / "prompts" / "grader.txt").read_text(encoding="utf-8")
    answer = without_lines(visible(case.answer))[-GRADED_CHARACTERS:]
    fields = {"question": case.question, "answer": answer, "first": options[0], "second": options[1]}
    return [user(re.sub(r"\{(\w+)\}", lambda match: fields[match.group(1)], template))]
