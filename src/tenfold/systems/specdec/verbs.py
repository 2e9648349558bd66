"""What the command line and recipes can do with speculative decoding; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.specdec import (
    building,
    certify,
    comparison,
    cost_check,
    explain,
    export,
    generate_verb,
    page,
    specbench,
)

VERBS = {
    "generate": Verb(generate_verb.GenerateConfig, generate_verb.generate, generate_verb.summary),
    "specbench": Verb(specbench.SpecBenchConfig, specbench.specbench, comparison.summary, page.build),
    "index": Verb(building.IndexConfig, building.index, building.describe_index),
    "train-head": Verb(building.TrainHeadVerbConfig, building.train, building.describe_head),
    "certify": Verb(certify.CertifyConfig, certify.certify, certify.summary),
    "calibrate": Verb(explain.CalibrateConfig, explain.calibrate, explain.describe_costs),
    "check-costs": Verb(cost_check.CheckCostsConfig, cost_check.check_costs, cost_check.summary),
    "export": Verb(export.ExportConfig, export.export, export.summary),
    "explain": Verb(explain.ExplainConfig, explain.explain, explain.describe_choice),
}
