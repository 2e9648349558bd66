"""Audits of data sets: can a rule that sees neither the picture nor the passage find the right answer?

`run_probes` takes multiple-choice items, `audit_pairs` texts with a yes/no label in pairs. A new probe is a `BlindProbe`
with a function from an item to one score per option.
"""

from tenfold.evals.audits.items import AuditItem, Deck
from tenfold.evals.audits.labelled import LabelledText
from tenfold.evals.audits.pairwise import (
    PairResult,
    TextProbe,
    audit_pairs,
    default_text_probes,
    identical_pairs,
    texts_with,
)
from tenfold.evals.audits.probes import BlindProbe, Probe
from tenfold.evals.audits.running import ProbeResult, best, chance, default_probes, run_probes, worst_items

__all__ = [
    "AuditItem",
    "BlindProbe",
    "Deck",
    "LabelledText",
    "PairResult",
    "Probe",
    "ProbeResult",
    "TextProbe",
    "audit_pairs",
    "best",
    "chance",
    "default_probes",
    "default_text_probes",
    "identical_pairs",
    "run_probes",
    "texts_with",
    "worst_items",
]
