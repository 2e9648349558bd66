"""What the command line and recipes can do with instruction data; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.glan import exporting, gating, generating, page, surveying

VERBS = {
    "generate": Verb(generating.GenerateConfig, generating.generate, generating.describe, page.build),
    "taxonomy": Verb(surveying.TaxonomyConfig, surveying.survey, surveying.describe),
    "gate": Verb(gating.GateConfig, gating.gate, gating.describe),
    "export": Verb(exporting.ExportConfig, exporting.export, exporting.describe),
}
