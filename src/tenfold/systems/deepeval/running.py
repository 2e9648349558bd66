"""The verbs `run` and `report`: models x tasks x arms over one set of questions, and runs set side by side.

Rows of `run`: `call/...` a reply by the digest of its request; `question/...` what was asked; `answer/...` how a question
was read under one model, task and arm. Answers follow from calls, so a killed and resumed run ends with equal metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics, Verb
from tenfold.store.runs import Run
from tenfold.systems.deepeval import arms, opening, outcome, page, reporting
from tenfold.systems.deepeval.arms import Arm
from tenfold.systems.deepeval.asking import Circular, Manner, Mode
from tenfold.systems.deepeval.choices import ALL, check_task, prompt_numbers
from tenfold.systems.deepeval.data import load
from tenfold.systems.deepeval.items import LETTERS, Task
from tenfold.systems.deepeval.letters import Method, Scoring
from tenfold.systems.deepeval.parsers import Parser
from tenfold.systems.deepeval.session import Session, Stages
from tenfold.systems.deepeval.staging import Album, Stage, stage

THIRD_PARTY = ("quads", "released")
"""Sets whose pictures belong to others and may not be passed on, not even small in a report."""


class RunConfig(Config):
    """Ask models about cartoons, with and without the picture, with and without a description of it."""

    models: Names = ("smollm2",)
    """Models: smollm2, a folder, a hub id, or openai:NAME."""
    data: str = "quads"
    """Questions: quads, released, scenes, or the folder or file of your own set."""
    tasks: Names = ("title", "meaning")
    """Tasks: description, title, meaning."""
    arms: Names = ("none", "text-oracle", "text-wrong")
    """Arms: image, none, wrong-image, blank, oracle, own, text-oracle, text-own, text-wrong."""
    method: Method = "text"
    """How answers are taken: text (the options' own probability; text arms, local models), letter, or generate."""
    scoring: Scoring = "both"
    """For method text: both (pmi + channel), channel (the description after each option), pmi, per-token or sum."""
    circular: Circular = "off"
    """Ask in all four rotations of the options; count their mean, all right (strict), or the majority (vote)."""
    prompts: str = ALL
    """Prompt formats: all, or some of 1,2,3."""
    parser: Parser = "robust"
    """Reader of written answers: robust (never guesses) or official (the published one)."""
    mode: Mode = "clean"
    """official: the published runner, with raw options, sampling and further attempts."""
    begin_answer: bool = True
    """For method letter: rank after an answer that has begun; false where an endpoint cannot continue one (OpenAI's own)."""
    limit_blocks: int | None = Field(default=None, ge=1)
    """Use only the first blocks of each task (questions, where there are no blocks)."""
    seed: int = 0
    """Of the quads and of the wrong pictures."""
    dtype: str = "auto"
    """Weights of local models: auto (as stored), bf16 or fp32."""


def manner(config: RunConfig) -> Manner:
    """How answers are taken."""
    prompts = prompt_numbers(config.prompts)
    how = Manner(config.method, config.scoring, config.circular, prompts, config.parser, config.mode)
    return replace(how, begin_answer=config.begin_answer)


def run(config: RunConfig, run: Run) -> Metrics:
    """Asks what has not been asked yet, then reads all answers.

    Raises:
        UserError: a model, a task, an arm or a combination that is not accepted.
        ApparatusError: no call succeeded, or questions without picture were told apart on quads.
    """
    chosen = [arms.find(name) for name in dict.fromkeys(config.arms)]
    how = manner(config).check(chosen)
    tasks: list[Task] = [check_task(name) for name in dict.fromkeys(config.tasks)]
    models = list(dict.fromkeys(config.models))
    check_all(models, tasks, chosen, how)
    data = load(config.data, tasks=tasks, seed=config.seed)
    album, limit = Album(data), config.limit_blocks
    stages: dict[Task, Stage] = {
        task: stage(data, album, task, chosen, limit_blocks=limit, seed=config.seed) for task in tasks
    }
    _note_questions(run, stages)
    if config.data not in THIRD_PARTY and any(arm.needs_images for arm in chosen):
        _note_pictures(run, stages)
    sessions = [Session(name, run, dtype=config.dtype) for name in models]
    for session in sessions:
        session.answer(stages, chosen, how)
    answers = [row for row in run.rows.values() if row.get("kind") == "answer"]
    costs = {session.name: session.cost() for session in sessions}
    settings = config.model_dump(mode="json", include={"data", "method", "scoring", "circular", "parser", "mode"})
    return settings | outcome.outcome(answers, config.circular, stages, costs)


def check_all(models: Sequence[str], tasks: Sequence[Task], chosen: Sequence[Arm], how: Manner) -> None:
    """Refuses, before any work, what cannot be asked.

    Raises:
        UserError: the first model, task and arm that do not go together.
    """
    if not (models and tasks and chosen):
        raise ConfigError("there is nothing to run; give at least one model, one task and one arm")
    for name in models:
        takes_images = any(arm.needs_images for arm in chosen) and opening.takes_images(name)
        for arm in chosen:
            for task in tasks:
                arms.check(arm, task, model=name, takes_images=takes_images)
        if how.method == "text" and opening.is_endpoint(name):
            raise ConfigError(f"method 'text' needs a local model, but {name!r} is an endpoint; give method=letter")


def _note_questions(run: Run, stages: Stages) -> None:
    """Writes down once what every question says, for the page and for later reading."""
    for staged in stages.values():
        for item in staged.items:
            if f"question/{item.id}" not in run.rows:
                texts: Mapping[str, object] = {"options": list(item.options), "sha256": item.sha256}
                run.add(f"question/{item.id}", {"kind": "question", **texts})


def _note_pictures(run: Run, stages: Stages) -> None:
    """Keeps small copies of the first block's pictures of each task, for the page."""
    for task, staged in stages.items():
        for item in staged.items[: len(LETTERS)]:
            key, found = f"picture/{item.id}", staged.album.find(item.image_id)
            if key not in run.rows and found is not None:
                small = arms.thumbnail(found).data_uri
                run.add(key, {"kind": "picture", "data_uri": small, "caption": f"{task}: {item.answer}"})


VERBS_RUN = {
    "run": Verb(RunConfig, run, outcome.summary, page.build),
    "report": Verb(reporting.ReportConfig, reporting.report, reporting.summary, page.build_comparison),
}
