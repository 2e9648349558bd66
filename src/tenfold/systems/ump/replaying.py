"""The verb `judge`: stored answers are judged again and measured, without asking any model.

Answers come from a run of `tenfold ump run`, or from a folder in MiP's layout, whose sets then stand where templates
would. One row per model and template keeps [probability, mark, stage] by problem, so a killed run goes on behind the last.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.core.config import Config, read_toml
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.evals.judges.judgement import JudgeError
from tenfold.evals.judges.record import Agreement
from tenfold.store import runs
from tenfold.store.artifacts import DATA_SETS, find_data
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.ump import data
from tenfold.systems.ump.answers import is_solved
from tenfold.systems.ump.judges import Case, Judge, case_of, default_judge, status
from tenfold.systems.ump.labels import Labels, corrected, of_group, read_labels
from tenfold.systems.ump.measures import Answered, compare, measure
from tenfold.systems.ump.problems import Flaw, Problem
from tenfold.systems.ump.stored import StoredAnswer, read_stored

DECIMALS = 6
MISSING_PREMISE = "mip:missing premise"
KIND = "answer"


class JudgeConfig(Config):
    """Judge stored answers again and measure them; no model is asked."""

    data: str = "mip"
    """Stored answers: mip, a folder in MiP's layout, or a run of `tenfold ump run` (its folder or its name)."""
    judge: str | None = None
    """File of a fitted linear judge, such as a run of `tenfold ump calibrate` leaves; by default the one that ships."""
    labels: Path | None = None
    """Labels of answers drawn at random, as JSONL of model, template, problem and flagged; they correct the rates."""


@dataclass(frozen=True)
class Replayed:
    """One stored answer."""

    problem: Problem
    case: Case
    """What the judge sees of it."""
    model: str
    template: str
    """Of a folder in MiP's layout: the set."""
    stop: str = "stop"
    tokens: int = 0
    reasoning_tokens: int = 0
    failed: bool = False
    """Whether the call failed, so that there is nothing to judge."""
    label: bool | None = None
    """What a labeller said, where there was one."""


Groups = Mapping[str, Sequence[Replayed]]
Made = Mapping[str, Sequence[Any]]


def judge(config: JudgeConfig, run: Run) -> Metrics:
    """One row per model and template (or set)."""
    groups, is_run = read_answers(config.data, run.folder.parent.parent)
    labels = None if config.labels is None else _labels(config.labels, groups)
    chosen = default_judge(config.judge)
    todo = [name for name in groups if name not in run.rows]
    for name in track(todo, "Models", done=len(groups) - len(todo)):
        run.add(name, _judge_group(chosen, groups[name]))
    answered = {name: _answered(answers, run.rows[name]["judged"]) for name, answers in groups.items()}
    return {
        "data": config.data,
        "answers": sum(map(len, groups.values())),
        "models": _by_model(groups, {name: measure(answers) for name, answers in answered.items()}),
        "compared": _compared(groups, answered) if is_run else {},
        "agreement": _agreement(groups, answered),
        "corrected": {} if labels is None else _by_model(groups, _corrected(labels, groups, answered)),
    }


def _labels(path: Path, groups: Groups) -> Labels:
    """The user's labels; each must name an answer that is there."""
    labels = read_labels(path)
    known = {(answer.model, answer.template, answer.problem.id) for answers in groups.values() for answer in answers}
    strange = next((key for key in labels if key not in known), None)
    if strange:
        raise ConfigError(f"{path} labels {strange}, which is no answer here; take all three names from the run's answers")
    return labels


def _corrected(labels: Labels, groups: Groups, answered: Mapping[str, Sequence[Answered]]) -> dict[str, Any]:
    return {
        name: corrected(answered[name], of_group(labels, answers[0].model, answers[0].template))
        for name, answers in groups.items()
    }


def read_answers(name: str, root: Path) -> tuple[Groups, bool]:
    """The answers by model/template, and whether they are those of a run; `root` is where runs lie.

    Raises:
        UserError: there is no such folder or run, or it holds no answers that could be judged.
    """
    folder = find_data(name) if name in DATA_SETS or Path(name).exists() else runs.find(root, name)
    is_run = (folder / "config.toml").is_file()
    groups: dict[str, list[Replayed]] = defaultdict(list)
    for answer in _of_run(folder) if is_run else map(_of_stored, read_stored(name)):
        groups[f"{answer.model}/{answer.template}"].append(answer)
    if not groups:
        raise ConfigError(f"{folder} holds no answers in words; give a run of `tenfold ump run` with method=generate")
    return groups, is_run


def _of_stored(stored: StoredAnswer) -> Replayed:
    pair = f"mip-{stored.set}-{stored.index}"
    problem = Problem(
        id=f"{pair}-{'sound' if stored.sound else 'flawed'}",
        question=stored.question,
        answer=stored.reference if stored.sound else None,
        flaw=None if stored.sound else Flaw(kind=MISSING_PREMISE),
        pair_id=pair,
        source=f"mip-{stored.set}",
    )
    label = None if stored.label is None else stored.flagged
    tokens = stored.all_tokens or 0
    return Replayed(problem, stored.case, stored.model, stored.set, tokens=tokens, label=label)


def _of_run(folder: Path) -> Iterator[Replayed]:
    if read_toml(folder / "config.toml").get("method") != "logprob":
        yield from (_of_row(row, problem) for row, problem in rows_of_run(folder))


def rows_of_run(folder: Path) -> Iterator[tuple[dict[str, Any], Problem]]:
    """The answers of a run of `tenfold ump run` as rows, each with its problem.

    Raises:
        ConfigError: a problem is not in the run's problem set as it is now.
    """
    settings = read_toml(folder / "config.toml")
    rows = {row["key"]: row for row in runs.read_rows(folder) if row.get("kind") == KIND}
    if not rows:
        return
    problems = {problem.id: problem for problem in data.read_set(settings["data"], seed=settings.get("seed", 0))}
    for row in rows.values():
        problem = problems.get(row["problem"])
        if problem is None or problem.question != row.get("question", problem.question):
            raise ConfigError(
                f"problem {row['problem']!r} of {folder} is not in {settings['data']} as it is now; run it anew"
            )
        yield row, problem


def _of_row(row: Mapping[str, Any], problem: Problem) -> Replayed:
    """A row tells how the answer stopped, or at least its status."""
    ended = row.get("status", "ok")
    return Replayed(
        problem=problem,
        case=case_of(problem, row["text"]),
        model=row["model"],
        template=row["template"],
        stop=row.get("stop") or ("length" if ended == "truncated" else "stop"),
        tokens=row.get("tokens", 0),
        reasoning_tokens=row.get("reasoning_tokens", 0),
        failed=ended == "judge_failed" and not row["text"],
    )


def _judge_group(chosen: Judge, answers: Sequence[Replayed]) -> dict[str, Any]:
    made = chosen.judge_all({answer.problem.id: answer.case for answer in answers if not answer.failed})
    judged = {
        key: [round(each.judgement.probability, DECIMALS), each.mark, each.judgement.stage]
        for key, each in made.items()
        if not isinstance(each, JudgeError)
    }
    return {"kind": "judged", "model": answers[0].model, "template": answers[0].template, "judged": judged}


def _answered(answers: Sequence[Replayed], made: Made) -> list[Answered]:
    return [_answer(answer, made.get(answer.problem.id)) for answer in answers]


def _answer(answer: Replayed, made: Sequence[Any] | None) -> Answered:
    text = answer.case.answer
    return Answered(
        problem=answer.problem,
        text=text,
        status=status(text, answer.stop) if made else "judge_failed",
        probability=made[0] if made else None,
        mark=made[1] if made else None,
        solved=is_solved(text, answer.problem.answer),
        tokens=answer.tokens,
        reasoning_tokens=answer.reasoning_tokens,
    )


def _by_model(groups: Groups, numbers: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, answers in groups.items():
        if name in numbers:
            table[answers[0].model][answers[0].template] = numbers[name]
    return dict(table)


def _compared(groups: Groups, answered: Mapping[str, Sequence[Answered]]) -> dict[str, dict[str, Any]]:
    """Each template of a model against its first one."""
    bases: dict[str, str] = {}
    for name, answers in groups.items():
        bases.setdefault(answers[0].model, name)
    against = {name: bases[answers[0].model] for name, answers in groups.items()}
    return _by_model(
        groups, {name: compare(answered[base], answered[name]) for name, base in against.items() if name != base}
    )


def _agreement(groups: Groups, answered: Mapping[str, Sequence[Answered]]) -> dict[str, Any] | None:
    """With the labels, where there are any."""
    pairs = [
        (bool(judged.label), answer.label)
        for name, answers in groups.items()
        for answer, judged in zip(answers, answered[name], strict=True)
        if answer.label is not None and judged.label is not None
    ]
    return Agreement.of(*map(list, zip(*pairs, strict=True))).model_dump() if pairs else None


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"{metrics['answers']} stored answers judged again"]
    agreement = metrics["agreement"]
    if agreement:
        lines.append(f"agreement with {agreement['num_items']} labels: kappa {agreement['kappa']:.3f}")
    lines.append(f"{'model':<16} {'template or set':<20} {'solved':>7} {'noticed':>8} {'false alarm':>12} {'inflation':>10}")
    for model, ways in metrics["models"].items():
        lines += [f"{model:<16} {name:<20} {_cells(row)}" for name, row in ways.items()]
    for model, ways in metrics["corrected"].items():
        lines += [f"{model} {name}: {_corrected_words(row['flawed'])}" for name, row in ways.items() if row["flawed"]]
    for model, ways in metrics["compared"].items():
        lines += [f"{model} {name}: sound problems {each['harm']['verdict']}" for name, each in ways.items() if each["harm"]]
    return "\n".join(lines)


def _corrected_words(row: Mapping[str, Any]) -> str:
    said = f"flaws flagged by the judge {row['judge']:.1%}"
    if row["value"] is None:
        return f"{said}; {row['labels']} labels correct nothing, give two or more"
    return f"{said}, by {row['labels']} labels {row['value']:.1%} (95 % {row['low']:.1%} to {row['high']:.1%})"


def _cells(row: Mapping[str, Any]) -> str:
    shares = (f"{100 * row[key]['value']:.1f}%" if row[key] else "-" for key in ("acc", "abs_strict", "false_alarm"))
    solved, noticed, alarm = shares
    words = row["inflation"]["words"]
    longer = f"{words['ratio_of_means']['value']:.2f}" if words else "-"
    return f"{solved:>7} {noticed:>8} {alarm:>12} {longer:>10}"
