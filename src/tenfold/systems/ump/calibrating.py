"""The verb `calibrate`: how far the judge agrees with labelled answers of models that its fit has not seen.

For each model the linear stage is fitted on the answers of all others, settings chosen among those alone, and applied
to the one left out. With `held_out` it is fitted on one folder and applied to another. Weights fitted on stored
answers stay in the run directory; they do not ship.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.core.seeds import derive
from tenfold.evals.judges.linear import Features, LinearJudge
from tenfold.evals.judges.record import Agreement
from tenfold.evals.statistics import expected_calibration_error
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.ump import correction
from tenfold.systems.ump.cues import Parts, has_cue
from tenfold.systems.ump.fitting import Choice, Corpus, fit_judge
from tenfold.systems.ump.flags import features
from tenfold.systems.ump.judges import own_folder
from tenfold.systems.ump.stored import StoredAnswer, read_stored

DECIMALS = 6
ALL = "all"
JUDGE = "linear.json"


class CalibrateConfig(Config):
    """Measure how the judge agrees with labelled answers, and how well a rate can be corrected by a few labels."""

    data: str = "mip"
    """Labelled answers: mip, or a folder in MiP's layout."""
    held_out: str | None = None
    """Another such folder: fit on `data`, test on this; without it each model of `data` is left out in turn."""
    labels: int = Field(200, ge=2)
    """Labels that a corrected rate is made of."""
    resamples: int = Field(1000, ge=10)
    """Draws of that many labels."""
    seed: int = 0
    """Of the draws."""


def calibrate(config: CalibrateConfig, run: Run) -> Metrics:
    """One row per model that is tested, with the probability of each of its answers; resumable between models."""
    fitted = _labelled(config.data)
    tested = fitted if config.held_out is None else _labelled(config.held_out)
    models = list(dict.fromkeys(answer.model for answer in tested))
    todo = [model for model in models if model not in run.rows]
    if todo or ALL not in run.rows:
        corpus = _corpus(fitted)
        judge = _fit_on_everything(corpus, run)
        for model in track(todo, "Models", done=len(models) - len(todo)):
            run.add(model, _test(corpus, [answer for answer in tested if answer.model == model], judge, config))
    probability = {key: p for model in models for key, p in run.rows[model]["probabilities"].items()}
    rules = {key for model in models for key in run.rows[model]["cues"]}
    own = {key: p for model in models for key, p in run.rows[model]["own"].items()}
    return _metrics(config, tested, [probability[a.key] for a in tested], [a.key in rules for a in tested]) | {
        "default_kappa": _agreement([own[answer.key] for answer in tested], tested)["kappa"],
        "data": config.data,
        "held_out": config.held_out,
        "choices": {key: run.rows[key]["choice"] for key in [*models, ALL]},
    }


def _labelled(name: str) -> list[StoredAnswer]:
    answers = [answer for answer in read_stored(name) if answer.label is not None]
    if not answers:
        raise ConfigError(f"{name} holds no labelled answer; an `eval_result` of 0, 1 or 2 is a label")
    return answers


def _fit_on_everything(corpus: Corpus, run: Run) -> LinearJudge:
    """The judge for one's own use, kept in the run directory."""
    if ALL not in run.rows:
        judge, choice = fit_judge(corpus, corpus.everything)
        judge.write(run.folder / JUDGE)
        run.add(ALL, {"choice": _settings(choice)})
    return LinearJudge.read(run.folder / JUDGE)


def _test(corpus: Corpus, mine: Sequence[StoredAnswer], judge: LinearJudge, config: CalibrateConfig) -> dict[str, Any]:
    """The answers of one model, judged by a fit on the other models, or on the other folder."""
    choice = None
    if config.held_out is None:
        judge, choice = fit_judge(corpus, corpus.everything[corpus.group_N != mine[0].model])
    seen = [features(answer.answer, answer.reference) for answer in mine]
    return {
        "choice": _settings(choice) if choice else None,
        "probabilities": _by_key(mine, judge, seen),
        "own": _by_key(mine, LinearJudge.read(own_folder() / JUDGE), seen),
        "cues": [answer.key for answer in mine if has_cue(Parts.of(answer.answer))],
    }


def _settings(choice: Choice) -> list[float]:
    return [choice.strength, choice.balance, choice.min_sets]


def _corpus(answers: Sequence[StoredAnswer]) -> Corpus:
    cases = [features(answer.answer, answer.reference) for answer in answers]
    labels = [answer.flagged for answer in answers]
    return Corpus(cases, labels, [answer.set for answer in answers], [answer.model for answer in answers])


def _by_key(answers: Sequence[StoredAnswer], judge: LinearJudge, seen: Sequence[Features]) -> dict[str, float]:
    probabilities = judge.probabilities(seen).tolist()
    return {answer.key: round(p, DECIMALS) for answer, p in zip(answers, probabilities, strict=True)}


def _metrics(
    config: CalibrateConfig, answers: Sequence[StoredAnswer], probabilities: Sequence[float], rules: Sequence[bool]
) -> Metrics:
    labels = [answer.flagged for answer in answers]
    overall, by_rules = _agreement(probabilities, answers), Agreement.of(rules, labels)
    return {
        "answers": len(answers),
        "models": len({answer.model for answer in answers}),
        "kappa": overall["kappa"],
        "accuracy": overall["accuracy"],
        "sensitivity": overall["sensitivity"],
        "specificity": overall["specificity"],
        "rules_kappa": by_rules.kappa,
        "rules_accuracy": by_rules.accuracy,
        "calibration_error": expected_calibration_error(probabilities, labels),
        "per_model": _table([answer.model for answer in answers], answers, probabilities, rules),
        "per_set": _table([answer.set for answer in answers], answers, probabilities, rules),
        "per_folder": _table([_set_name(answer) for answer in answers], answers, probabilities, rules),
        "flagged_without_cue": _flagged_without_cue(answers, rules),
    } | correction.study(
        labels, probabilities, num_labels=config.labels, resamples=config.resamples, seed=derive(config.seed, "labels")
    )


def _agreement(probabilities: Sequence[float], answers: Sequence[StoredAnswer]) -> dict[str, Any]:
    return Agreement.of([p >= 0.5 for p in probabilities], [answer.flagged for answer in answers]).model_dump()


def _set_name(answer: StoredAnswer) -> str:
    return f"{answer.set}/{'sound' if answer.sound else 'flawed'}"


def _table(
    groups: Sequence[str], answers: Sequence[StoredAnswer], probabilities: Sequence[float], rules: Sequence[bool]
) -> dict[str, dict[str, Any]]:
    table = {}
    for group in dict.fromkeys(groups):
        places = [place for place, name in enumerate(groups) if name == group]
        labels = [answers[place].flagged for place in places]
        judged = Agreement.of([probabilities[place] >= 0.5 for place in places], labels)
        table[group] = {
            "answers": len(places),
            "flagged": sum(labels) / len(labels),
            "kappa": judged.kappa,
            "accuracy": judged.accuracy,
            "rules_kappa": Agreement.of([rules[place] for place in places], labels).kappa,
        }
    return table


def _flagged_without_cue(answers: Sequence[StoredAnswer], rules: Sequence[bool]) -> dict[str, list[int]]:
    """By set: [answers without any cue, those of them that are labelled as flagged]: what no reading of the text finds."""
    counts: dict[str, list[int]] = {}
    for answer, cue in zip(answers, rules, strict=True):
        if not cue:
            row = counts.setdefault(_set_name(answer), [0, 0])
            row[0] += 1
            row[1] += answer.flagged
    return counts


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    how = f"fitted on {metrics['data']}" if metrics["held_out"] else "each model left out in turn"
    lines = [
        f"{metrics['answers']} labelled answers of {metrics['models']} models, {how}",
        f"kappa {metrics['kappa']:.3f} (rules alone {metrics['rules_kappa']:.3f}), accuracy {metrics['accuracy']:.1%}",
        *_lines(metrics["per_set"]),
        *_lines(metrics["per_model"]),
        f"true rate {metrics['true_rate']:.1%}, judge {metrics['judge_rate']:.1%}; corrected by {metrics['labels']} labels:"
        f" bias {metrics['corrected_bias']:+.2f}, median error {metrics['corrected_median_error']:.2f} points,"
        f" coverage {metrics['coverage']:.1%} (Rogan-Gladen {_points(metrics['rogan_gladen_median_error'])})",
    ]
    return "\n".join(lines)


def _lines(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{name:>20} {row['answers']:5d} answers   kappa {row['kappa']:6.3f}   rules {row['rules_kappa']:6.3f}"
        for name, row in table.items()
    ]


def _points(value: float | None) -> str:
    return "refused" if value is None else f"{value:.2f}"
