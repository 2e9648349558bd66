"""What the command line and recipes can do with activation patterns; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.activation import (
    atlas,
    auditing,
    chooser,
    classifying,
    comparing,
    mapping,
    page,
    routes,
    sts,
    sweeping,
)

VERBS = {
    "map": Verb(mapping.MapConfig, mapping.run_map, mapping.summary, page.build_map),
    "similar": Verb(comparing.SimilarConfig, comparing.run_similar, comparing.summary),
    "sts": Verb(sts.StsConfig, sts.run_sts, sts.summary, page.build_sts),
    "classify": Verb(classifying.ClassifyConfig, classifying.run_classify, classifying.summary, page.build_classify),
    "audit": Verb(auditing.AuditConfig, auditing.run_audit, auditing.summary, page.build_audit),
    "prune": Verb(sweeping.PruneConfig, sweeping.run_prune, sweeping.summary, page.build_prune),
    "choose": Verb(chooser.ChooseConfig, chooser.run_choose, chooser.summary, page.build_choose),
    "experts": Verb(routes.ExpertsConfig, routes.run_experts, routes.summary, page.build_experts),
    "atlas": Verb(atlas.AtlasConfig, atlas.run_atlas, atlas.summary, page.build_atlas),
}
