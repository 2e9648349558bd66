"""What the command line and recipes can do with the safety detector; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.shieldlm import (
    applying,
    auditing,
    calibrating,
    checking,
    evaluating,
    page,
    preparing,
    summaries,
    training,
)

VERBS = {
    "check": Verb(checking.CheckConfig, checking.check, checking.check_summary),
    "score": Verb(applying.ScoreConfig, applying.score, applying.summary),
    "mix": Verb(preparing.MixConfig, preparing.mix, preparing.mix_summary),
    "train": Verb(training.TrainConfig, training.train, training.summary, page.training_page),
    "calibrate": Verb(calibrating.CalibrateConfig, calibrating.calibrate, calibrating.summary),
    "eval": Verb(evaluating.EvalConfig, evaluating.evaluate, summaries.evaluation, page.evaluation_page),
    "rules": Verb(preparing.RulesConfig, preparing.rules, preparing.rules_summary),
    "stream": Verb(checking.StreamConfig, checking.stream, checking.stream_summary),
    "audit": Verb(auditing.AuditConfig, auditing.audit, auditing.summary),
    "import-prompts": Verb(preparing.ImportConfig, preparing.import_verb, preparing.import_summary),
}
