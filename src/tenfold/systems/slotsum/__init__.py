"""SlotSum: an entity abstract is a template of generic prose and the facts in its slots (arXiv 2402.18873).

Claim: numbers, dates and known values stand in named slots only, can be pointed at, and are corrected without
touching what is right.

    ours       the paper's
    Template   T, prose with named slots
    facts      F = {(key, value)}
    documents  D
    knowledge  K, the knowledge base that facts are rectified by

The names below are imported when they are first asked for, as some need torch; `rectify`, `summarize` and `explain`
are functions of modules of the same names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenfold.systems.slotsum.derive import derive_template as derive_template
    from tenfold.systems.slotsum.fill import SlotFiller as SlotFiller
    from tenfold.systems.slotsum.generate import TemplateGenerator as TemplateGenerator
    from tenfold.systems.slotsum.inject import inject_errors as inject_errors
    from tenfold.systems.slotsum.knowledge import KnowledgeBase as KnowledgeBase
    from tenfold.systems.slotsum.metrics import score_facts as score_facts
    from tenfold.systems.slotsum.templates import Template as Template

_HOMES = {
    "KnowledgeBase": "knowledge",
    "SlotFiller": "fill",
    "Template": "templates",
    "TemplateGenerator": "generate",
    "derive_template": "derive",
    "inject_errors": "inject",
    "score_facts": "metrics",
}

__all__ = [
    "KnowledgeBase",
    "SlotFiller",
    "Template",
    "TemplateGenerator",
    "derive_template",
    "inject_errors",
    "score_facts",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"tenfold.systems.slotsum.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
