"""The judge that ships: fitted on 300 answers of our own writing, in ten voices, each marked by hand.

`labelled/answers.jsonl` holds {id, voice, mark, reference, answer}; `labelled/linear.json` is what `fit` makes of it.
The settings are those that a study on stored answers of real models found to hold on unseen models and sets.
"""

from dataclasses import dataclass

import numpy as np

from tenfold.core import jsonl
from tenfold.evals.judges.linear import LinearJudge
from tenfold.evals.statistics import Platt, Temperature
from tenfold.systems.ump.fitting import Choice, Corpus, Fit, held_out_scores
from tenfold.systems.ump.flags import features
from tenfold.systems.ump.judges import own_folder

SETTINGS = Choice(strength=0.3, balance=0.5, min_sets=0)


@dataclass(frozen=True)
class Labelled:
    """One answer of our own with its mark."""

    id: str
    voice: str
    """The style it is written in; answers of one voice are left out together."""
    mark: float
    """1, 1/2 or 0, as `judges` defines it."""
    reference: str | None
    answer: str


def read_own() -> list[Labelled]:
    """The labelled answers, in the order of the file."""
    return [Labelled(**row) for row in jsonl.read(own_folder() / "answers.jsonl")]


def corpus(answers: list[Labelled]) -> Corpus:
    """The answers as the fit takes them: one set, one group per voice."""
    cases = [features(answer.answer, answer.reference) for answer in answers]
    return Corpus(cases, [answer.mark > 0 for answer in answers], ["own"] * len(answers), [a.voice for a in answers])


def fit() -> LinearJudge:
    """The judge; the stretch to probabilities comes from voices that a fit has not seen."""
    own = corpus(read_own())
    scores = held_out_scores(own, own.everything, SETTINGS, own.group_N.tolist())
    spread = Temperature.fit(np.stack([np.zeros(len(scores)), scores], axis=1), own.label_N)
    return Fit.on(own, own.everything, SETTINGS).as_judge(Platt(slope=1 / spread.temperature, intercept=0.0))


def refit() -> None:
    """Writes `labelled/linear.json` anew; after a change of the answers or of the flags."""
    fit().write(own_folder() / "linear.json")
