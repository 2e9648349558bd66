"""What the command line and recipes can do with deep semantics of images; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.deepeval import audit, building, drawing, exhibits, facets, images, repair
from tenfold.systems.deepeval.running import VERBS_RUN

VERBS = {
    "audit": Verb(audit.AuditConfig, audit.audit, audit.summary, exhibits.audit_page),
    "repair": Verb(repair.RepairConfig, repair.repair, repair.summary, exhibits.repair_page),
    "build": Verb(building.BuildConfig, building.build, building.summary),
    "images": Verb(images.ImagesConfig, images.images, images.summary),
    "facets": Verb(facets.FacetsConfig, facets.facets, facets.summary),
    "scenes": Verb(drawing.ScenesConfig, drawing.scenes, drawing.summary, drawing.page),
    **VERBS_RUN,
}
