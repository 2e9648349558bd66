"""Who guesses. Each drafter is a class of its own file; `DRAFTERS` names them for settings and the command line."""

from tenfold.core.registry import Registry

DRAFTERS = Registry("drafter", {"ngram": "tenfold.systems.specdec.drafters.ngram:NgramDrafter"})
