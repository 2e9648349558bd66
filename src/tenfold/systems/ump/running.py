"""The verb `run`: models x templates over a problem set, judged, measured, and compared with the first template.

Every reply is a row before the next call, and judging is done again from the replies, so a run that was killed asks for no
answer twice. All templates see the same problems; comparisons are paired by problem and clustered by block.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.evals.calls import Calls
from tenfold.evals.judges.judgement import JudgeError
from tenfold.evals.statistics import holm
from tenfold.llm.cache import Cached
from tenfold.llm.chat import ChatRequest
from tenfold.nn import opening
from tenfold.store.runs import Run
from tenfold.systems.ump import data
from tenfold.systems.ump.answers import is_solved
from tenfold.systems.ump.asking import Method, Way, Written, flawed_probability, outstanding, parse_way, written
from tenfold.systems.ump.judges import Judge, Judged, case_of, default_judge, status
from tenfold.systems.ump.measures import Answered, compare, measure
from tenfold.systems.ump.problems import Problem

RANKED = frozenset(
    ("n", "n_sound", "n_flawed", "unscored", "abs_strict", "false_alarm", "j", "pair_sep", "block_acc", "per_category")
)
RANKED_COMPARED = frozenset(("n", "abs_strict", "false_alarm"))


class RunConfig(Config):
    """Ask models about sound and unreasonable problems, and say whether a prompt helps and whether it harms."""

    models: Names = ("smollm2",)
    """Models: smollm2, a folder, a hub id, or openai:NAME."""
    data: str = "builtin"
    """Problems: builtin, gsm8k, umwp, mip, or a JSONL file."""
    split: str = "all"
    """Only problems made from these originals: all, train, or test."""
    tier: str = "all"
    """all, easy, or standard."""
    category: str = "all"
    """all, inconsistent, undefined, units, illogical, or assumption."""
    limit_blocks: int | None = Field(None, ge=1)
    """At most this many blocks, equally many of each category."""
    templates: Names = ("direct", "cot", "ccc")
    """Ways: direct, cot, hint, padding, ccc, ccc:critical+conclusion, ccc@turns, ccc@gate; the first is the base."""
    method: Method = "generate"
    """generate: the model answers and is judged; logprob: it only ranks `flawed` against `sound`, in one pass."""
    max_tokens: int = Field(512, ge=1)
    """Tokens of an answer, or of each turn."""
    judge: str | None = None
    """File of a fitted linear judge; by default the one that ships with Tenfold."""
    grader: str | None = None
    """A model that decides where rules and the linear judge are unsure: a local one, or openai:NAME."""
    dtype: str = "auto"
    """Weights of local models: auto (as stored), bf16 or fp32."""
    seed: int = 0
    """Of the problem set and of the choice of blocks."""


def run(config: RunConfig, run: Run) -> Metrics:
    """Asks, judges and measures."""
    ways = [parse_way(name) for name in dict.fromkeys(config.templates)]
    problems = data.load(
        config.data,
        split=config.split,
        tier=config.tier,
        category=config.category,
        limit_blocks=config.limit_blocks,
        seed=config.seed,
    )
    if not ways or not config.models:
        raise ConfigError("there is nothing to run; give at least one model and one template")
    judge = None if config.method == "logprob" else _judge(config, run)
    results, costs = {}, {}
    for name in dict.fromkeys(config.models):
        calls = _calls(name, run, config.dtype)
        calls.ask_until_done(lambda calls=calls: _outstanding(ways, problems, config, calls), "Problems")
        results[name] = {way.name: _answers(way, problems, config, calls, judge) for way in ways}
        costs[name] = calls.cost
    return _metrics(config, problems, results) | {"cost": costs}


def _calls(name: str, run: Run, dtype: str) -> Calls:
    return Calls(name, run, lambda: opening.open_model(name, dtype=dtype), concurrency=opening.concurrency(name))


def _judge(config: RunConfig, run: Run) -> Judge:
    if config.grader is None:
        return default_judge(config.judge)
    grader = opening.open_model(config.grader, dtype=config.dtype)
    return default_judge(config.judge, Cached(grader, run.folder / "grader.sqlite"))


def _outstanding(ways: Sequence[Way], problems: Sequence[Problem], config: RunConfig, calls: Calls) -> Iterator[ChatRequest]:
    for way in ways:
        for problem in problems:
            yield from outstanding(way, problem, config.method, config.max_tokens, calls.replies)


def _answers(way: Way, problems: Sequence[Problem], config: RunConfig, calls: Calls, judge: Judge | None) -> list[Answered]:
    """All answers of one model under one template, each noted as a row; failed calls leave none."""
    if judge is None:
        shares = ((problem, flawed_probability(way, problem, calls.replies)) for problem in problems)
        answers = [ranked(problem, share) for problem, share in shares if share is not None]
        stages = dict.fromkeys((problem.id for problem in problems), "logprob")
    else:
        answers, stages = _judged(way, problems, config, calls, judge)
    for answer in answers:
        _note(calls, way, answer, stages.get(answer.problem.id, ""))
    return answers


def ranked(problem: Problem, probability: float) -> Answered:
    """An answer of which only P(flawed) is known."""
    return Answered(problem, "", "ok", probability, float(probability > 0.5), solved=False)


def _judged(
    way: Way, problems: Sequence[Problem], config: RunConfig, calls: Calls, judge: Judge
) -> tuple[list[Answered], dict[str, str]]:
    texts = {problem.id: written(way, problem, config.max_tokens, calls.replies) for problem in problems}
    cases = {problem.id: case_of(problem, text.text) for problem in problems if (text := texts[problem.id]) is not None}
    judged = judge.judge_all(cases)
    stages = {key: each.judgement.stage for key, each in judged.items() if isinstance(each, Judged)}
    answered = ((problem, texts[problem.id]) for problem in problems)
    return [_answered(problem, text, judged[problem.id]) for problem, text in answered if text is not None], stages


def _answered(problem: Problem, text: Written, judged: Judged | JudgeError) -> Answered:
    """An answer with its mark; without one where the judge failed."""
    known = judged if isinstance(judged, Judged) else None
    return Answered(
        problem=problem,
        text=text.text,
        status=status(text.text, text.finish) if known else "judge_failed",
        probability=known.judgement.probability if known else None,
        mark=known.mark if known else None,
        solved=is_solved(text.text, problem.answer),
        tokens=text.tokens,
        reasoning_tokens=text.reasoning_tokens,
    )


def _note(calls: Calls, way: Way, answer: Answered, stage: str) -> None:
    """One row per answer, written again only where it has changed."""
    problem = answer.problem
    key = f"answer/{calls.name}/{way.name}/{problem.id}"
    row = {
        "kind": "answer",
        "model": calls.name,
        "template": way.name,
        "problem": problem.id,
        "block": problem.block,
        "cell": problem.cell,
        "category": problem.category,
        "sound": problem.sound,
        "question": problem.question,
        "gold": problem.answer,
        "text": answer.text,
        "status": answer.status,
        "tokens": answer.tokens,
        "reasoning_tokens": answer.reasoning_tokens,
        "solved": answer.solved,
        "probability": answer.probability,
        "mark": answer.mark,
        "stage": stage,
    }
    if {name: value for name, value in calls.run.rows.get(key, {}).items() if name != "key"} != row:
        calls.run.add(key, row)


def _metrics(config: RunConfig, problems: Sequence[Problem], results: Mapping[str, Mapping[str, list[Answered]]]) -> Metrics:
    base = next(iter(dict.fromkeys(config.templates)))
    return {
        "data": config.data,
        "method": config.method,
        "max_tokens": config.max_tokens,
        **numbers(problems, results, base=base, ranked=config.method == "logprob"),
    }


def numbers(
    problems: Sequence[Problem], results: Mapping[str, Mapping[str, list[Answered]]], *, base: str, ranked: bool
) -> Metrics:
    """What the answers of each model under each template say, and what each template changes against `base`.

    Comparisons leave out problems that a template has no answer to, because a call failed.
    """
    measured = {
        model: {
            name: _kept(measure(answers), ranked, RANKED) | {"unanswered": len(problems) - len(answers)}
            for name, answers in ways.items()
        }
        for model, ways in results.items()
    }
    compared = {
        model: {
            name: _kept(compare(*_common(ways[base], answers)), ranked, RANKED_COMPARED)
            for name, answers in ways.items()
            if name != base
        }
        for model, ways in results.items()
    }
    _correct(compared)
    return {
        "problems": len(problems),
        "blocks": len({problem.block for problem in problems if problem.block}),
        "uncertified": sum(problem.certificate is None for problem in problems),
        "base": base,
        "models": measured,
        "compared": compared,
    }


def _common(base: Sequence[Answered], other: Sequence[Answered]) -> tuple[list[Answered], list[Answered]]:
    """The answers to problems that got one under both templates."""
    both = {answer.problem.id for answer in base} & {answer.problem.id for answer in other}
    first, second = ([answer for answer in side if answer.problem.id in both] for side in (base, other))
    return first, second


def _kept(found: Metrics, ranked: bool, keys: frozenset[str]) -> Metrics:
    """All that was measured; of a ranking only what it can tell, as nothing was written."""
    return {key: value for key, value in found.items() if key in keys} if ranked else found


def _correct(compared: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds Holm's correction over all comparisons of detection."""
    found = {
        f"{model}/{name}": each["abs_strict"]
        for model, ways in compared.items()
        for name, each in ways.items()
        if each.get("abs_strict") and each["abs_strict"].get("p") is not None
    }
    for key, p in holm({key: cast(float, each["p"]) for key, each in found.items()}).items():
        found[key]["p_holm"] = p


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    head = f"{metrics['problems']} problems in {metrics['blocks']} blocks, method {metrics['method']}"
    lines = [head, f"{'model':<12} {'template':<26} {'solved':>7} {'noticed':>8} {'false alarm':>12} {'pairs in order':>15}"]
    for model, ways in metrics["models"].items():
        for name, row in ways.items():
            cells = (percent(row.get(key)) for key in ("acc", "abs_strict", "false_alarm", "pair_sep"))
            solved, noticed, alarm, order = cells
            lines.append(f"{model:<12} {name:<26} {solved:>7} {noticed:>8} {alarm:>12} {order:>15}")
        lines += [
            f"{name} against {metrics['base']}: {harm_words(each)}" for name, each in metrics["compared"][model].items()
        ]
    return "\n".join(lines)


def harm_words(compared: Mapping[str, Any]) -> str:
    """What a template changes, in a line."""
    gain, harm = compared.get("abs_strict"), compared.get("harm")
    parts = []
    if gain:
        parts.append(
            f"notices {100 * gain['value']:+.1f} points (95 % {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
        )
    if harm:
        parts.append(
            f"sound problems: {harm['verdict']}" + (f", about {harm['needed']} needed" if harm.get("needed") else "")
        )
    return "; ".join(parts) or "nothing to compare"


def percent(estimate: Mapping[str, float] | None) -> str:
    """An estimate as a percentage; a dash where there is none."""
    return "–" if not estimate else f"{100 * estimate['value']:.1f}%"
