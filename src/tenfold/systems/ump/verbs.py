"""What the command line and recipes can do with unreasonable problems; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.ump import audit, building, calibrating, page, running

VERBS = {
    "build": Verb(building.BuildConfig, building.build, building.describe_build),
    "check": Verb(building.CheckConfig, building.check_file, building.describe_check),
    "audit": Verb(audit.AuditConfig, audit.audit, audit.describe_audit, audit.build_page),
    "run": Verb(running.RunConfig, running.run, running.summary, page.build),
    "calibrate": Verb(calibrating.CalibrateConfig, calibrating.calibrate, calibrating.summary),
}
