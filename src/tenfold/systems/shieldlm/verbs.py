"""What the command line and recipes can do with the safety detector; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.shieldlm import evaluating, training

VERBS = {
    "train": Verb(training.TrainConfig, training.train, training.summary),
    "eval": Verb(evaluating.EvalConfig, evaluating.evaluate, evaluating.summary, evaluating.build_page),
}
