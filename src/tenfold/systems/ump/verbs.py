"""What the command line and recipes can do with unreasonable problems; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.ump import audit, building, calibrating, finetuning, page, replaying, reporting, running

VERBS = {
    "build": Verb(building.BuildConfig, building.build, building.describe_build),
    "check": Verb(building.CheckConfig, building.check_file, building.describe_check),
    "audit": Verb(audit.AuditConfig, audit.audit, audit.describe_audit, audit.build_page),
    "run": Verb(running.RunConfig, running.run, running.summary, page.build),
    "judge": Verb(replaying.JudgeConfig, replaying.judge, replaying.summary),
    "calibrate": Verb(calibrating.CalibrateConfig, calibrating.calibrate, calibrating.summary),
    "report": Verb(reporting.ReportConfig, reporting.report, running.summary, page.build),
    "finetune": Verb(finetuning.FinetuneVerbConfig, finetuning.train, finetuning.summary, finetuning.build_page),
}
