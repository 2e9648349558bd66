"""What the command line and recipes can do with PeriodicLoRA; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.plora import checking, comparing, exporting, page, profiles, staging, training

VERBS = {
    "train": Verb(training.TrainConfig, training.train, training.summary, page.build_training),
    "compare": Verb(profiles.CompareConfig, comparing.compare, comparing.summary, page.build_comparison),
    "export": Verb(exporting.ExportConfig, exporting.export, exporting.summary),
    "stages": Verb(staging.StagesConfig, staging.stages, staging.summary),
    "verify": Verb(checking.VerifyConfig, checking.verify, checking.summary),
}
