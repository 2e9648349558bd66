"""ShieldLM: a safety detector that follows your rules and knows how sure it is.

Paper: Zhang et al., "ShieldLM: Empowering LLMs as Aligned, Customizable and Explainable Safety Detectors", arXiv 2402.16444.
Claim: one detector can follow natural-language rules that differ from request to request.

    ours        the paper's   meaning
    query       A             what the user said; may be empty
    response    B             what is judged
    rule        rule          a sentence that the verdict must follow; loose ones allow, strict ones forbid
    score       -             p(unsafe) + weight * p(controversial)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenfold.systems.shieldlm.audit import AuditLog as AuditLog
    from tenfold.systems.shieldlm.calibrator import Calibrator as Calibrator
    from tenfold.systems.shieldlm.cascade import Cascade as Cascade
    from tenfold.systems.shieldlm.guard import Guard as Guard
    from tenfold.systems.shieldlm.items import Label as Label
    from tenfold.systems.shieldlm.mixing import mix_rules as mix_rules
    from tenfold.systems.shieldlm.prompting import build_prompt as build_prompt
    from tenfold.systems.shieldlm.rules import RulePack as RulePack
    from tenfold.systems.shieldlm.stream import StreamGuard as StreamGuard
    from tenfold.systems.shieldlm.verdict import VerdictScorer as VerdictScorer

_HOMES = {
    "AuditLog": "audit",
    "Calibrator": "calibrator",
    "Cascade": "cascade",
    "Guard": "guard",
    "Label": "items",
    "RulePack": "rules",
    "StreamGuard": "stream",
    "VerdictScorer": "verdict",
    "build_prompt": "prompting",
    "mix_rules": "mixing",
}

__all__ = [
    "AuditLog",
    "Calibrator",
    "Cascade",
    "Guard",
    "Label",
    "RulePack",
    "StreamGuard",
    "VerdictScorer",
    "build_prompt",
    "mix_rules",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"tenfold.systems.shieldlm.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
