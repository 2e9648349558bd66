"""The verb `judge`: two models answer a test set, and a third grades both answers from 1 to 10, in both orders.

The gap is the mean difference of grades, second model less first, with an interval over disciplines' questions. How far
the grader favours what stands first, and what it wrote that cannot be read, are told apart; neither counts as a model's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tenfold.core import jsonl
from tenfold.core.config import Config, split_commas
from tenfold.core.errors import ApparatusError, ConfigError
from tenfold.core.records import Figure, Metrics, Page, Table
from tenfold.evals.calls import Calls
from tenfold.evals.statistics import cluster_mean, sign_flip
from tenfold.llm.chat import ChatReply, ChatRequest, user
from tenfold.nn import opening
from tenfold.store.runs import Run
from tenfold.systems.glan.planner import render

GRADES = range(1, 11)
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "integer", "minimum": 1, "maximum": 10} for name in ("first", "second")},
    "required": ["first", "second"],
}


class JudgeConfig(Config):
    """Let a model grade the answers of two others to a test set, in both orders."""

    testset: Path
    """testset.jsonl of a run of `testset`, or any JSON lines with id and question (discipline, if there is one)."""
    models: Annotated[tuple[str, ...], BeforeValidator(split_commas), Field(min_length=2, max_length=2)]
    """The two to compare: smollm2, a folder, or openai:NAME."""
    judge: str
    """Who grades: a capable model; smollm2 is not one."""
    limit: int | None = Field(None, ge=1)
    """Only the first questions."""
    max_tokens: int = Field(512, ge=1)
    """Tokens of an answer."""
    answer_characters: int = Field(4000, ge=100)
    """What the grader sees of an answer."""


@dataclass(frozen=True)
class Graded:
    """One question, graded in both orders as far as the grader could be read: (first model, second model)."""

    id: str
    discipline: str
    orders: Sequence[tuple[int, int] | None]

    @property
    def known(self) -> list[tuple[int, int]]:
        return [grades for grades in self.orders if grades is not None]

    @property
    def gap(self) -> float:
        """Second model less first, the mean over the orders that could be read."""
        return sum(second - first for first, second in self.known) / len(self.known)

    @property
    def lead_of_first_place(self) -> float:
        """How many grades better an answer fared by standing first."""
        (a, b), (c, d) = self.known
        return ((a - b) + (d - c)) / 2


def judge(config: JudgeConfig, run: Run) -> Metrics:
    """Asks, grades, compares; every reply is a row, so a killed run repeats no call.

    Raises:
        ConfigError: a row of the test has no question, or the two models are one.
        ApparatusError: no verdict of the grader could be read.
    """
    items = _read(config)
    first, second = config.models
    if first == second:
        raise ConfigError(f"both models are {first!r}; give two to compare")
    answers = [_answers(name, items, config, run) for name in config.models]
    graded = _graded(items, answers, config, run)
    known = [each for each in graded if each.known]
    if not known:
        raise ApparatusError("no verdict of the judge could be read, so there is nothing to compare; take another judge")
    gaps, clusters = [each.gap for each in known], [each.id for each in known]
    both = [each for each in known if len(each.known) == len(each.orders)]
    return {
        "models": list(config.models),
        "judge": config.judge,
        "questions": len(items),
        "graded": len(known),
        "unreadable": sum(grades is None for each in graded for grades in each.orders),
        "unanswered": sum(len(items) - len(some) for some in answers),
        "gap": asdict(cluster_mean(gaps, clusters)),
        "p": sign_flip(gaps, clusters),
        "order_bias": asdict(cluster_mean([e.lead_of_first_place for e in both], [e.id for e in both])) if both else None,
        "mean_grades": {
            name: sum(grades[place] for each in known for grades in each.known) / sum(len(each.known) for each in known)
            for place, name in enumerate(config.models)
        },
        "per_discipline": {
            name: {"n": len(some), "gap": sum(each.gap for each in some) / len(some)}
            for name in dict.fromkeys(each.discipline for each in known)
            if (some := [each for each in known if each.discipline == name])
        },
    }


def _read(config: JudgeConfig) -> list[dict[str, Any]]:
    items = []
    for number, row in enumerate(jsonl.read(config.testset), 1):
        if not isinstance(row, dict) or not isinstance(row.get("question"), str):
            raise ConfigError(f"{config.testset} line {number} has no question; give rows with id and question")
        items.append(
            {"id": str(row.get("id", number)), "question": row["question"], "discipline": row.get("discipline", "")}
        )
    if not items:
        raise ConfigError(f"{config.testset} is empty; give rows with id and question")
    return items[: config.limit]


def _answers(name: str, items: Sequence[Mapping[str, Any]], config: JudgeConfig, run: Run) -> dict[str, str]:
    """Question id -> answer; failed calls leave none."""
    calls = Calls(name, run, lambda: opening.open_model(name), concurrency=opening.concurrency(name))
    requests = {item["id"]: ChatRequest((user(item["question"]),), max_tokens=config.max_tokens) for item in items}
    calls.ask({request.digest: request for request in requests.values()}, "Answers")
    calls.check_some_success()
    found = {key: calls.replies.get(request.digest) for key, request in requests.items()}
    return {key: reply.text for key, reply in found.items() if reply is not None}


def _graded(
    items: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, str]], config: JudgeConfig, run: Run
) -> list[Graded]:
    name = f"{config.judge} as judge"
    calls = Calls(name, run, lambda: opening.open_model(config.judge), concurrency=opening.concurrency(config.judge))
    asked = {item["id"]: list(_requests(item, answers, config)) for item in items}
    calls.ask({request.digest: request for pair in asked.values() for request in pair}, "Verdicts")
    return [
        Graded(item["id"], item["discipline"], _orders([calls.replies.get(request.digest) for request in asked[item["id"]]]))
        for item in items
        if asked[item["id"]]
    ]


def _requests(item: Mapping[str, Any], answers: Sequence[Mapping[str, str]], config: JudgeConfig) -> Iterator[ChatRequest]:
    """Both orders; nothing where an answer is missing."""
    if any(item["id"] not in some for some in answers):
        return
    one, other = (some[item["id"]][: config.answer_characters] for some in answers)
    for first, second in ((one, other), (other, one)):
        text = render("judge", question=item["question"], first=first, second=second)
        schema = None if opening.is_endpoint(config.judge) else SCHEMA
        yield ChatRequest((user(text),), max_tokens=64, json_schema=schema)


def _orders(replies: Sequence[ChatReply | None]) -> list[tuple[int, int] | None]:
    """The grades as (first model, second model); the second order is turned round."""
    straight, turned = (None if reply is None else grades(reply.text) for reply in replies)
    return [straight, None if turned is None else (turned[1], turned[0])]


def grades(text: str) -> tuple[int, int] | None:
    """The two grades of a verdict, or None where it does not hold exactly two whole numbers from 1 to 10."""
    named = [re.search(rf'"{name}"\s*:\s*(\d+)\b(?!\.)', text) for name in ("first", "second")]
    found = [int(match[1]) for match in named if match]
    if len(found) < len(named):
        found = [int(number) for number in re.findall(r"(?<![\d.])\d+(?![\d.])", text)]
    return (found[0], found[1]) if len(found) == 2 and all(grade in GRADES for grade in found) else None


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    first, second = metrics["models"]
    bias = metrics["order_bias"]
    lines = [
        f"{second} less {first}: {_words(metrics['gap'])}, p {metrics['p']:.2g}, "
        f"on {metrics['graded']} of {metrics['questions']} questions",
        *([f"standing first is worth {bias['value']:+.2f} grades to this judge"] if bias else []),
        *([f"{metrics['unreadable']} verdicts could not be read"] if metrics["unreadable"] else []),
    ]
    return "\n".join(lines)


def _words(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:+.2f} grades (95 % {estimate['low']:+.2f} to {estimate['high']:+.2f})"


def build_page(rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The page of a run."""
    first, second = metrics["models"]
    gap = metrics["gap"]
    said = "no difference that could not be chance"
    if gap["low"] > 0 or gap["high"] < 0:
        said = f"{second if gap['low'] > 0 else first} answers better"
    names = list(metrics["per_discipline"])
    gaps = [metrics["per_discipline"][name]["gap"] for name in names]
    return Page(
        title="Teach: did the lesson help?",
        verdict=f"{said[0].upper()}{said[1:]}: {second} less {first}, {_words(gap)} of 10.",
        story=["Both models answered the same held-out questions; a third graded both answers, each pair in both orders."],
        facts={f"Mean grade, {name}": f"{grade:.2f}" for name, grade in metrics["mean_grades"].items()},
        exhibits=[
            Figure(
                title=f"By discipline: {second} less {first}",
                caption="Mean difference of grades.",
                plotly={
                    "data": [{"type": "bar", "x": names, "y": gaps, "marker": {"color": "series-1"}}],
                    "layout": {"showlegend": False},
                },
            ),
            Table(
                title="The judge",
                caption="Asking in both orders cancels a liking for one place; what cannot be read counts for nobody.",
                columns=["", "number"],
                rows=[
                    ["questions graded", str(metrics["graded"])],
                    ["verdicts that could not be read", str(metrics["unreadable"])],
                    [
                        "grades for standing first",
                        _words(metrics["order_bias"]) if metrics["order_bias"] else "–",
                    ],
                ],
            ),
        ],
    )
