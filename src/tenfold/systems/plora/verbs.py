"""What the command line and recipes can do with PeriodicLoRA; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.plora import training

VERBS = {"train": Verb(training.TrainConfig, training.train, training.summary)}
