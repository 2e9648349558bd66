"""What the command line and recipes can do with instruction data; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.glan import (
    exporting,
    gating,
    generating,
    judging,
    loadtest,
    merging,
    outcome,
    page,
    probe,
    surveying,
    testset,
    viewer,
)

VERBS = {
    "generate": Verb(generating.GenerateConfig, generating.generate, outcome.describe, page.build),
    "taxonomy": Verb(surveying.TaxonomyConfig, surveying.survey, surveying.describe),
    "gate": Verb(gating.GateConfig, gating.gate, gating.describe),
    "export": Verb(exporting.ExportConfig, exporting.export, exporting.describe),
    "view": Verb(viewer.ViewConfig, viewer.view, viewer.describe),
    "testset": Verb(testset.TestsetConfig, testset.testset, testset.describe),
    "judge": Verb(judging.JudgeConfig, judging.judge, judging.describe, judging.build_page),
    "probe": Verb(probe.ProbeConfig, probe.probe, probe.describe, probe.build_page),
    "loadtest": Verb(loadtest.LoadConfig, loadtest.loadtest, loadtest.describe),
    "merge": Verb(merging.MergeConfig, merging.merge, merging.describe),
}
