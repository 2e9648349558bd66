"""Unreasonable problems as an Inspect task.

    inspect eval tenfold/ump --model tenfold/smollm2 -T template=ccc
    inspect score LOG --scorer tenfold/ump_judge

A sample's metadata holds all that the scorer needs, so a log can be judged again without asking anything. Answers are cached
under weights, data and template. An apparatus that fails leaves a sample unscored.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig, get_model, model_roles
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, accuracy, metric, scorer, stderr
from inspect_ai.solver import Solver, TaskState

from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.evals.inspect.generating import JUDGE_FAILED, LETTER_UNRANKED, unscored
from tenfold.evals.inspect.roles import InspectChat
from tenfold.evals.judges.judgement import JudgeError
from tenfold.systems.ump import ccc, templates
from tenfold.systems.ump import data as problem_sets
from tenfold.systems.ump.answers import is_solved
from tenfold.systems.ump.judges import Judged, case_of, default_judge, status
from tenfold.systems.ump.measures import Answered, measure
from tenfold.systems.ump.problems import Problem

METHODS = ("generate", "logprob")
GRADER = "grader"


@task
def ump(
    data: str = "builtin",
    split: str = "all",
    tier: str = "all",
    category: str = "all",
    template: str = "direct",
    stages: str = templates.ALL_STAGES,
    mode: str = "one",
    method: str = "generate",
    max_tokens: int = 1024,
    limit_blocks: int | None = None,
    seed: int = 0,
) -> Task:
    """Sound and unreasonable problems under one template; the settings are those of `tenfold ump run`.

    Raises:
        UserError: a setting that is not accepted.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    problems = _load(data, split, tier, category, limit_blocks, seed)
    return Task(
        dataset=MemoryDataset([_sample(problem) for problem in problems], name=data),
        solver=_solver(template, stages, mode, method, _sha256(problems)),
        scorer=ump_judge(),
        config=GenerateConfig(max_tokens=max_tokens, temperature=0.0),
        name="ump",
        metadata={"template": template, "stages": stages, "mode": mode, "method": method},
    )


def _load(name: str, split: str, tier: str, category: str, limit_blocks: int | None, seed: int) -> list[Problem]:
    return problem_sets.load(name, split=split, tier=tier, category=category, limit_blocks=limit_blocks, seed=seed)


def _solver(template: str, stages: str, mode: str, method: str, data_sha256: str) -> Solver:
    templates.check_template(template)
    if method == "logprob":
        return ccc.rank_letters(template, stages, data_sha256)
    if template == templates.CCC:
        return ccc.ccc(stages, mode, data_sha256)
    if mode != "one" or stages != templates.ALL_STAGES:
        raise ConfigError(f"template {template!r} has no stages and modes; use them with template={templates.CCC}")
    return ccc.ask(template, data_sha256)


def _sample(problem: Problem) -> Sample:
    return Sample(
        id=problem.id,
        input=problem.question,
        target=problem.answer or "flawed",
        metadata={"cluster": problem.block or problem.id, "problem": problem.model_dump(mode="json")},
    )


def _sha256(problems: Sequence[Problem]) -> str:
    return hashlib.sha256("".join(problem.model_dump_json() for problem in problems).encode()).hexdigest()


def _measured(key: str) -> Metric:
    """One of the numbers of `measures.measure`, over all scored samples."""

    def compute(scores: list[SampleScore]) -> float:
        found = measure([_answered(score.score.metadata) for score in scores if score.score.metadata])
        estimate = found.get(key)
        return estimate["value"] if estimate else float("nan")

    return compute


@metric
def noticed() -> Metric:
    """Share of the flawed problems that are said to be flawed, and not answered all the same."""
    return _measured("abs_strict")


@metric
def false_alarm() -> Metric:
    """Share of the sound problems that are said to be flawed."""
    return _measured("false_alarm")


@metric
def pair_separation() -> Metric:
    """Share of a block's sound/flawed comparisons that P(flagged) orders rightly; blind is one half."""
    return _measured("pair_sep")


@scorer(metrics=[accuracy(), stderr(cluster="cluster"), noticed(), false_alarm(), pair_separation()])
def ump_judge(judge: str | None = None) -> Scorer:
    """1 for a sound problem solved or a flaw noticed, 1/2 for a flaw noticed and answered all the same.

    Args:
        judge: file of a fitted linear judge. A model of the role `grader`, if there is one, decides what it is unsure of.
    """

    async def score(state: TaskState, target: Target) -> Score:
        problem = Problem.model_validate(state.metadata["problem"])
        if "letters" in state.metadata:
            return _ranked(problem, state.metadata["letters"])
        text = "\n\n".join(message.text for message in state.messages if message.role == "assistant")
        try:
            judged = await default_judge(judge, _grader()).judge(case_of(problem, text))
        except JudgeError as error:
            return unscored(JUDGE_FAILED, str(error), problem=problem.model_dump(mode="json"))
        return _score(problem, text, state.output.stop_reason, judged, state.output.usage)

    return score


def _grader() -> InspectChat | None:
    """The model of the role `grader`, where the user named one."""
    return InspectChat(get_model(role=GRADER), {"judge": GRADER}) if GRADER in model_roles() else None


def _score(problem: Problem, text: str, stop: str, judged: Judged, usage: Any) -> Score:
    solved = is_solved(text, problem.answer)
    value = float(solved) if problem.sound else judged.mark
    row = {
        "problem": problem.model_dump(mode="json"),
        "text": text,
        "status": status(text, stop),
        "probability": judged.judgement.probability,
        "mark": judged.mark,
        "solved": solved,
        "tokens": usage.output_tokens if usage else 0,
        "stage": judged.judgement.stage,
    }
    return Score(value=value, answer="flawed" if judged.judgement.label else "sound", metadata=row)


def _ranked(problem: Problem, letters: Sequence[dict[str, Any]]) -> Score:
    """By the letters' own probabilities, the mean over both orders."""
    shares = [_share(order) for order in letters]
    known = [share for share in shares if share is not None]
    if len(known) < len(shares):
        return unscored(LETTER_UNRANKED, "an endpoint did not rank both letters", problem=problem.model_dump(mode="json"))
    probability = sum(known) / len(known)
    row = {
        "problem": problem.model_dump(mode="json"),
        "text": "",
        "status": "ok",
        "probability": probability,
        "mark": float(probability > 0.5),
        "solved": False,
        "tokens": 0,
    }
    return Score(value=float((probability > 0.5) != problem.sound), answer=f"P(flawed) {probability:.3f}", metadata=row)


def _share(order: dict[str, Any]) -> float | None:
    first, second = order["logprobs"]
    if first is None or second is None:
        return None
    flawed, other = (first, second) if order["flawed"] == "A" else (second, first)
    return 1 / (1 + math.exp(other - flawed))


def _answered(row: dict[str, Any]) -> Answered:
    return Answered(
        problem=Problem.model_validate(row["problem"]),
        text=row["text"],
        status=row["status"],
        probability=row["probability"],
        mark=row["mark"],
        solved=row["solved"],
        tokens=row["tokens"],
    )
