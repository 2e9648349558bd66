"""What the command line and recipes can do with templates; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.slotsum import deriving, injecting, training

VERBS = {
    "derive": Verb(deriving.DeriveConfig, deriving.derive, deriving.describe),
    "train": Verb(training.TrainConfig, training.train, training.describe),
    "inject": Verb(injecting.InjectConfig, injecting.inject, injecting.describe),
}
