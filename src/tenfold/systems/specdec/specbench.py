"""The Spec-Bench runner: the same prompts, answered by every method in turn, timed in one process, compared pair by pair.

Differences from the published runner, each of which changed conclusions there: identity is checked on token ids,
not on re-tokenised text; ratios are paired per prompt and have intervals; every method stops at the same tokens;
turn 2 follows the same turn-1 text in every method; the order of methods is reversed from prompt to prompt (ABBA).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, field_validator

from tenfold.core.config import Config, Names
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.core.seeds import derive
from tenfold.nn import models
from tenfold.nn.models import Dtype, LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.store.environment import ContentionMeter
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.specdec import comparison
from tenfold.systems.specdec.data import Question, load_questions
from tenfold.systems.specdec.draft_length import AUTO, NumDraft, draft_length_for
from tenfold.systems.specdec.drafters import making
from tenfold.systems.specdec.methods import (
    OTHER_DRAFTER,
    OURS,
    PLAIN,
    Answer,
    Baselines,
    Method,
    Speculative,
    check_baselines,
)
from tenfold.systems.specdec.rounds import acceptance_by_position, mean_accepted_tokens

WARM_UP_TOKENS = 8


class SpecBenchConfig(Config):
    """Measure speculative decoding on Spec-Bench prompts, against plain decoding and Transformers."""

    model: str = "smollm2"
    """Model: smollm2, a folder, a .gguf file or a hub id."""
    data: str = "demo"
    """Prompts: demo (24 of our own), random (24 of random tokens), specbench, or a file in Spec-Bench's format."""
    limit_per_task: int | None = Field(default=None, ge=1)
    """Use at most this many prompts of each subtask."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Most tokens to generate per turn."""
    baselines: Names = ("greedy", "transformers", "transformers-pld")
    """What to compare with: greedy, transformers, transformers-pld, -pld3, -assisted (-fp32 behind it), llama-cpp."""
    assistant: str | None = None
    """The model that drafts for the baseline transformers-assisted."""
    drafter: str = "ngram"
    """Who guesses."""
    drafter_options: Names = ()
    """Options of the drafter, as key=value."""
    compare_drafters: Names = ()
    """Other drafters of ours to time in the same run, options behind colons: suffix,hybrid:shape=tree."""
    num_draft: NumDraft = AUTO
    """Most drafted tokens per pass, or auto: the number that this machine's pass times make fastest."""
    dtype: Dtype = "auto"
    """Weights: auto (as stored), bf16 or fp32."""
    repeats: int = Field(default=1, ge=1)
    """Times each method answers each prompt; of several the first is dropped and the median counts."""

    @field_validator("baselines")
    @classmethod
    def _known_baselines(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return check_baselines(names)

    @field_validator("drafter")
    @classmethod
    def _known_drafter(cls, name: str) -> str:
        return making.check(name)

    @field_validator("compare_drafters")
    @classmethod
    def _known_drafters(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            making.check(name.split(":")[0])
        return names


def specbench(config: SpecBenchConfig, run: Run) -> Metrics:
    """Answers every prompt with every method; one row per prompt, resumable between prompts."""
    questions = load_questions(config.data, limit_per_task=config.limit_per_task)
    todo = [question for question in questions if str(question.question_id) not in run.rows]
    if todo:
        _measure(config, run, todo, num_done=len(questions) - len(todo))
    rows = [run.rows[str(question.question_id)] for question in questions]
    return comparison.metrics(rows) | {
        "model": config.model,
        "drafter": config.drafter,
        "data": config.data,
        "max_new_tokens": config.max_new_tokens,
        "threads": torch.get_num_threads(),
        "skipped_baselines": skipped_baselines(config),
    }


def makes_baselines(config: SpecBenchConfig) -> Baselines:
    """Who makes the baselines of a run."""
    return Baselines(config.model, config.dtype, config.assistant)


def skipped_baselines(config: SpecBenchConfig) -> dict[str, str]:
    """The baselines that were asked for and cannot be run here, each with the reason."""
    reasons = {name: makes_baselines(config).missing(name) for name in config.baselines}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _measure(config: SpecBenchConfig, run: Run, questions: Sequence[Question], *, num_done: int) -> None:
    bench = Bench.load(config)
    bench.warm_up()
    for number, question in enumerate(track(questions, "Spec-Bench", done=num_done), start=num_done):
        run.add(str(question.question_id), _row_or_failure(bench, question, reverse=number % 2 == 1))


def _row_or_failure(bench: "Bench", question: Question, *, reverse: bool) -> dict[str, Any]:
    """A prompt that does not fit into the model is recorded as a failure and averaged into nothing."""
    try:
        return bench.row(question, reverse=reverse)
    except UserError as error:
        return {"question_id": question.question_id, "category": question.category, "failure": str(error)}


@dataclass(frozen=True)
class Bench:
    """The loaded model and the methods to compare, ours first."""

    config: SpecBenchConfig
    model: LoadedModel
    methods: dict[str, Method]

    @staticmethod
    def load(config: SpecBenchConfig) -> "Bench":
        model = models.load(config.model, dtype=config.dtype)
        greedy = GenerationSettings.model_validate({})
        ours: dict[str, Method] = {}
        for name, (drafter, *options) in _drafters(config).items():
            made = making.make(drafter, options, model, greedy)
            ours[name] = Speculative(model, made, draft_length_for(config.num_draft, model))
        makes = makes_baselines(config)
        names = [name for name in dict.fromkeys((PLAIN, *config.baselines)) if makes.missing(name) is None]
        return Bench(config, model, ours | {name: makes.make(name, model) for name in names})

    def warm_up(self) -> None:
        """One short answer by each method, not counted."""
        prompt = self._prompt(["Hello."], [])
        for method in self.methods.values():
            method(prompt, WARM_UP_TOKENS)

    def row(self, question: Question, *, reverse: bool) -> dict[str, Any]:
        """Measures one conversation; later turns follow the text of our plain decoding in every method."""
        meter = ContentionMeter()
        answers: dict[str, list[Answer]] = {name: [] for name in self.methods}
        prompts, history = [], []
        for turn in range(len(question.turns)):
            prompt = self._random_prompt(question) or self._prompt(question.turns[: turn + 1], history)
            for name, answer in self._answers(prompt, reverse=reverse).items():
                answers[name].append(answer)
            prompts.append(prompt)
            history.append(self._text(answers[PLAIN][-1]))
        return {
            "question_id": question.question_id,
            "category": question.category,
            "subtask": question.subtask,
            "contention": meter.read(),
            "exactness": self.model.engine.exactness,
            "methods": {name: self._record(turns) for name, turns in answers.items()},
            "identical": _same(answers[OURS], answers[PLAIN]),
            "divergence": {name: self._divergence(prompts, turns, answers[PLAIN]) for name, turns in answers.items()},
            "rounds": [
                [step.num_drafted, step.num_accepted, step.num_emitted] for turn in answers[OURS] for step in turn.rounds
            ],
            "acceptance": acceptance_by_position([step for turn in answers[OURS] for step in turn.rounds]),
            "spans": self._spans(answers[OURS][0]),
            "choices": [self._spec_bench_choice(answers[OURS])],
        }

    def _answers(self, prompt: Sequence[int], *, reverse: bool) -> dict[str, Answer]:
        names = list(self.methods)[:: -1 if reverse else 1]
        tries = [
            {name: self.methods[name](prompt, self.config.max_new_tokens) for name in names}
            for _ in range(self.config.repeats)
        ]
        counted = tries[1:] or tries
        return {name: _typical([answers[name] for answers in counted]) for name in self.methods}

    def _prompt(self, turns: Sequence[str], history: Sequence[str]) -> list[int]:
        """Token ids of a conversation that waits for the assistant."""
        messages: list[dict[str, str]] = []
        for index, turn in enumerate(turns):
            messages.append({"role": "user", "content": turn})
            if index < len(history):
                messages.append({"role": "assistant", "content": history[index]})
        return models.chat_ids(self.model.tokenizer, messages)

    def _random_prompt(self, question: Question) -> list[int]:
        """The ids of a random prompt; empty for a text."""
        draws = random.Random(derive(question.question_id, "prompt"))
        return [draws.randrange(self.model.engine.vocab_size) for _ in range(question.num_random_tokens)]

    def _text(self, answer: Answer) -> str:
        return str(self.model.tokenizer.decode(list(answer.tokens), skip_special_tokens=True))

    def _record(self, turns: Sequence[Answer]) -> dict[str, Any]:
        seconds, prefill = sum(turn.total_seconds for turn in turns), sum(turn.prefill_seconds for turn in turns)
        rounds = [step for turn in turns for step in turn.rounds]
        return {
            "seconds": seconds,
            "prefill_seconds": prefill,
            "decode_seconds": seconds - prefill,
            "new_tokens": sum(len(turn.tokens) for turn in turns),
            "rounds": len(rounds),
            "mean_accepted_tokens": mean_accepted_tokens(rounds),
            "text": "\n\n".join(self._text(turn) for turn in turns),
        }

    def _divergence(
        self, prompts: Sequence[Sequence[int]], turns: Sequence[Answer], plain: Sequence[Answer]
    ) -> dict[str, Any] | None:
        """Where a method's tokens first leave our plain decoding, and how far apart the two likeliest tokens were there."""
        for turn, (prompt, ours, reference) in enumerate(zip(prompts, turns, plain, strict=True)):
            position = _first_difference(ours.tokens, reference.tokens)
            if position is not None:
                self.model.engine.reset()
                top_2 = self.model.engine.prefill([[*prompt, *reference.tokens[:position]]])[0].topk(2).values
                return {"turn": turn, "position": position, "gap": float(top_2[0] - top_2[1])}
        return None

    def _spans(self, answer: Answer) -> list[tuple[str, str]]:
        """The text in runs of tokens from one source; a run ends only where the bytes so far are whole characters."""
        spans: list[tuple[str, str]] = []
        text, start = "", 0
        for end in range(1, len(answer.tokens) + 1):
            if end < len(answer.tokens) and answer.sources[end] == answer.sources[end - 1]:
                continue
            piece = str(self.model.tokenizer.decode(list(answer.tokens[:end]), skip_special_tokens=True))
            if not piece.endswith("\ufffd"):
                spans.append((piece[len(text) :], answer.sources[start]))
                text, start = piece, end
        return spans

    def _spec_bench_choice(self, turns: Sequence[Answer]) -> dict[str, Any]:
        """One `choice` of Spec-Bench's own result format, per turn."""
        return {
            "index": 0,
            "turns": [self._text(turn) for turn in turns],
            "decoding_steps": [len(turn.rounds) + 1 for turn in turns],
            "new_tokens": [len(turn.tokens) for turn in turns],
            "wall_time": [turn.total_seconds for turn in turns],
            "accept_lengths": [step.num_emitted for turn in turns for step in turn.rounds],
        }


def _drafters(config: SpecBenchConfig) -> dict[str, list[str]]:
    """Per method of ours: its drafter and the options."""
    others = {f"{OTHER_DRAFTER}{name}": name.split(":") for name in config.compare_drafters}
    return {OURS: [config.drafter, *config.drafter_options]} | others


def _typical(answers: Sequence[Answer]) -> Answer:
    """The answer with the median time; repeats of one method must give the same tokens."""
    assert all(list(answer.tokens) == list(answers[0].tokens) for answer in answers), (
        "a method's repeats gave different tokens"
    )
    return sorted(answers, key=lambda answer: answer.total_seconds)[(len(answers) - 1) // 2]


def _same(ours: Sequence[Answer], plain: Sequence[Answer]) -> bool:
    return all(list(a.tokens) == list(b.tokens) for a, b in zip(ours, plain, strict=True))


def _first_difference(ours: Sequence[int], reference: Sequence[int]) -> int | None:
    differing = (index for index, (a, b) in enumerate(zip(ours, reference, strict=False)) if a != b)
    shorter = min(len(ours), len(reference)) if len(ours) != len(reference) else None
    return next(differing, shorter)
