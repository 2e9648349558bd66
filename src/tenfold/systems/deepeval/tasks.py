"""Deep semantics of images as an Inspect task.

    inspect eval tenfold/deepeval --model tenfold/smollm2 -T task=meaning -T arm=text-oracle -T method=text
    inspect score LOG --scorer tenfold/deepeval_choice -S parser=official

A sample is a question. The solver makes all its readings and keeps what was said; the scorer reads that, so a log can be
scored again by another parser without asking anything. Answers are cached under weights, data and picture.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
from inspect_ai import Task
from inspect_ai import task as inspect_task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentText,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, accuracy, metric, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver

from tenfold.core.errors import ApparatusError
from tenfold.evals.inspect.generating import LETTER_UNRANKED, generate_cached, score_candidates, unscored
from tenfold.evals.inspect.provider import ChatModelAPI
from tenfold.llm.chat import ChatReply, ChatRequest, FinishReason, Image, Message
from tenfold.systems.deepeval import arms, measures
from tenfold.systems.deepeval.arms import Arm
from tenfold.systems.deepeval.asking import Ask, Circular, Manner, Mode
from tenfold.systems.deepeval.choices import check_task, prompt_numbers
from tenfold.systems.deepeval.data import DataSet, load
from tenfold.systems.deepeval.items import LETTERS, Item
from tenfold.systems.deepeval.letters import Method, Scoring
from tenfold.systems.deepeval.parsers import Parser, parse
from tenfold.systems.deepeval.staging import Album, Stage, described, stage, to_describe

FINISHED: Mapping[str, FinishReason] = {"max_tokens": "length", "model_length": "length", "content_filter": "content_filter"}


@inspect_task
def deepeval(
    task: str = "meaning",
    data: str = "quads",
    arm: str = "image",
    method: Method = "letter",
    scoring: Scoring = "both",
    circular: Circular = "off",
    prompts: str | int = "all",
    parser: Parser = "robust",
    mode: Mode = "clean",
    begin_answer: bool = True,
    limit_blocks: int | None = None,
    seed: int = 0,
) -> Task:
    """Questions of one task under one arm; the settings are those of `tenfold deepeval run`.

    Raises:
        UserError: a setting or a combination that is not accepted.
    """
    asked, condition = check_task(task), arms.find(arm)
    manner = Manner(method, scoring, circular, prompt_numbers(prompts), parser, mode, begin_answer).check([condition])
    arms.check(condition, asked, model="the model", takes_images=True)
    questions = load(data, tasks=[asked], seed=seed)
    staged = stage(questions, Album(questions), asked, [condition], limit_blocks=limit_blocks, seed=seed)
    return Task(
        dataset=MemoryDataset([_sample(item, staged, condition, circular) for item in staged.items], name=f"{data}-{task}"),
        solver=read_questions(staged, condition, manner),
        scorer=deepeval_choice(parser),
        name="deepeval",
        metadata={"arm": arm, "method": method, "circular": circular, "without_picture": staged.num_without_picture},
    )


def _sample(item: Item, staged: Stage, arm: Arm, circular: Circular) -> Sample:
    picture = staged.picture(arm, item)
    return Sample(
        id=item.id,
        input="\n".join(f"({letter}) {option}" for letter, option in zip(LETTERS, item.options, strict=True)),
        target=item.letter,
        metadata={
            "task": item.task,
            "arm": arm.name,
            "circular": circular,
            "item": item.id,
            "image_id": item.image_id,
            "options": list(item.options),
            "gold": item.gold,
            "block": item.block,
            "cluster": item.block or item.id,
            "facets": list(item.facets),
            "item_sha256": item.sha256,
            "image_sha256": picture.sha256 if picture else None,
        },
    )


@solver
def read_questions(staged: Stage, arm: Arm, manner: Manner) -> Solver:
    """Makes all readings of a question; what several questions share is asked once."""
    asking = Asking(data_sha256(staged.data))

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        _check_sight(arm)
        item = next(item for item in staged.items if item.id == state.sample_id)
        own = await asking.describe(staged, item) if arm.describe == "own" else {}
        asks = staged.readings(arm, item, manner, own)
        replies: dict[str, ChatReply] = {}
        for ask in asks:
            while waiting := ask.outstanding(replies):
                replies |= {request.digest: await asking.reply(request) for request in waiting}
        numbers = [prompt for prompt, _ in manner.readings]
        state.metadata["readings"] = [_record(prompt, ask, replies) for prompt, ask in zip(numbers, asks, strict=True)]
        state.output = ModelOutput.from_content(str(get_model()), _shown_output(state.metadata["readings"]))
        return state

    return solve


def _check_sight(arm: Arm) -> None:
    api = get_model().api
    if isinstance(api, ChatModelAPI) and arm.needs_images:
        arms.check(arm, "title", model=api.model_name, takes_images=api.chat.takes_images)


class Asking:
    """Replies by request: kept by Inspect's cache for good, and here so that equal requests under way are one."""

    def __init__(self, data: str) -> None:
        self.data = data
        self.replies: dict[str, ChatReply] = {}
        self.locks: dict[str, anyio.Lock] = {}

    async def reply(self, request: ChatRequest) -> ChatReply:
        async with self.locks.setdefault(request.digest, anyio.Lock()):
            if request.digest not in self.replies:
                self.replies[request.digest] = await self._ask(request)
            return self.replies[request.digest]

    async def describe(self, staged: Stage, item: Item) -> dict[str, str]:
        """The model's own description of a question's picture."""
        reply = await self.reply(to_describe(staged.album.get(item.image_id)))
        return {item.image_id: described(reply.text)}

    async def _ask(self, request: ChatRequest) -> ChatReply:
        scopes = {"data": self.data, "images": " ".join(image.sha256 for image in request.images)}
        messages = [_message(message) for message in request.messages]
        if request.candidates:
            scores = await score_candidates(messages, request.candidates, scopes=scopes, answer_prefix=request.answer_prefix)
            return ChatReply("", candidate_logprobs=scores.logprobs, candidate_tokens=scores.tokens)
        config = GenerateConfig(max_tokens=request.max_tokens, temperature=request.temperature, seed=request.seed)
        output = await generate_cached(messages, scopes=scopes, config=config)
        return ChatReply(output.completion, FINISHED.get(output.stop_reason, "stop"))


def _message(message: Message) -> ChatMessage:
    parts: list[Content] = [
        ContentImage(image=part.data_uri) if isinstance(part, Image) else ContentText(text=part) for part in message.parts
    ]
    return ChatMessageUser(content=parts)


def data_sha256(data: DataSet) -> str:
    """Names all questions of a set."""
    return hashlib.sha256("".join(item.sha256 for item in data.items).encode()).hexdigest()


def _record(prompt: int, ask: Ask, replies: Mapping[str, ChatReply]) -> dict[str, Any]:
    """One reading as the log keeps it: what was written, or what was picked."""
    mark = ask.mark(replies)
    last = next(replies[digest] for digest in reversed([r.digest for r in ask.requests()]) if digest in replies)
    return {
        "prompt": prompt,
        "order": list(ask.order),
        "shown_options": list(ask.shown),
        "written": last.text if ask.manner.method == "generate" else None,
        "finish": last.finish_reason,
        "state": mark.state,
        "pick": mark.pick,
        "shown": None if mark.pick is None else ask.order.index(mark.pick),
    }


def _shown_output(readings: Sequence[Mapping[str, Any]]) -> str:
    """What the log viewer shows as the answer."""
    written = [reading["written"] for reading in readings if reading["written"] is not None]
    return "\n\n".join(written) or ", ".join(_letter(reading) for reading in readings)


def _letter(reading: Mapping[str, Any]) -> str:
    return reading["state"] if reading["pick"] is None else LETTERS[reading["pick"]]


def _read_again(reading: Mapping[str, Any], parser: Parser) -> dict[str, Any]:
    """A written reading under this parser; a ranked one as it is."""
    if reading["written"] is None or reading["finish"] == "content_filter":
        return dict(reading)
    cut_off = reading["finish"] == "length"
    found = parse(reading["written"], reading["shown_options"], parser=parser, cut_off=cut_off)
    shown = None if found.letter is None else LETTERS.index(found.letter)
    return {**reading, "state": found.state, "shown": shown, "pick": None if shown is None else reading["order"][shown]}


@metric
def block_accuracy() -> Metric:
    """The share of trials in which all four questions of a block were right."""

    def compute(scores: list[SampleScore]) -> float:
        rows = [_row(score) for score in scores]
        share = measures.block_accuracy(rows, rows[0]["circular"]) if rows else None
        return float("nan") if share is None else share

    return compute


@metric
def blind_check() -> Metric:
    """Readings of blocks that a blind arm answered alike, which is all of them; NaN for other arms.

    Raises:
        ApparatusError: a block was told apart without picture and description.
    """

    def compute(scores: list[SampleScore]) -> float:
        rows = [_row(score) for score in scores]
        if not rows or not arms.find(rows[0]["arm"]).is_blind:
            return float("nan")
        return float(measures.check_blind(rows))

    return compute


@metric
def format_failures() -> Metric:
    """The share of readings that were no clear choice."""

    def compute(scores: list[SampleScore]) -> float:
        states = [reading["state"] for score in scores for reading in _row(score)["readings"]]
        return sum(state != "ok" for state in states) / len(states) if states else float("nan")

    return compute


def _row(score: SampleScore) -> dict[str, Any]:
    if score.score.metadata is None:
        raise ApparatusError("a score has lost its readings; score the log again with tenfold/deepeval_choice")
    return score.score.metadata


@scorer(metrics=[accuracy(), stderr(cluster="cluster"), block_accuracy(), format_failures(), blind_check()])
def deepeval_choice(parser: Parser = "robust") -> Scorer:
    """Right or wrong by the readings in the log, written ones under this parser; the value is the share of trials right."""

    async def score(state: TaskState, target: Target) -> Score:
        kept = ("task", "arm", "circular", "item", "block", "gold")
        readings = [_read_again(reading, parser) for reading in state.metadata["readings"]]
        row: dict[str, Any] = {name: state.metadata[name] for name in kept} | {"readings": readings}
        value = measures.score(row, row["circular"])
        if value is None:
            return unscored(LETTER_UNRANKED, "an endpoint did not rank every letter", **row)
        return Score(value=value, answer=", ".join(_letter(reading) for reading in readings), metadata=row)

    return score
