"""What the command line and recipes can do with activation patterns; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.activation import auditing, sts, sweeping

VERBS = {
    "sts": Verb(sts.StsConfig, sts.run_sts, sts.summary),
    "prune": Verb(sweeping.PruneConfig, sweeping.run_prune, sweeping.summary),
    "audit": Verb(auditing.AuditConfig, auditing.run_audit, auditing.summary),
}
