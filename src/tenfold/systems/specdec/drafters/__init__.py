"""Who guesses. Each drafter is a class of its own file; `DRAFTERS` names them for settings and the command line.

Each can be made without arguments. Those that run a network are in `TARGET_DRAFTERS`, because they are made for one
target: each is called with (LoadedModel, GenerationSettings) and its own config. The oracle is in neither: it must be
given the target's text.
"""

from tenfold.core.registry import Registry

_HERE = "tenfold.systems.specdec.drafters"

DRAFTERS = Registry(
    "drafter",
    {
        "ngram": f"{_HERE}.ngram:NgramDrafter",
        "suffix": f"{_HERE}.suffix:SuffixDrafter",
        "recycle": f"{_HERE}.recycle:RecycleDrafter",
        "lookahead": f"{_HERE}.lookahead:LookaheadDrafter",
        "jacobi": f"{_HERE}.lookahead:jacobi",
        "hybrid": f"{_HERE}.hybrid:HybridDrafter",
    },
)

TARGET_DRAFTERS = Registry(
    "drafter",
    {
        "model": f"{_HERE}.model:model_drafter",
        "early_exit": f"{_HERE}.early_exit:early_exit_drafter",
        "layer_skip": f"{_HERE}.early_exit:layer_skip_drafter",
        "twin": f"{_HERE}.twin:twin_drafter",
        "medusa": f"{_HERE}.heads:medusa_drafter",
        "eagle": f"{_HERE}.heads:eagle_drafter",
    },
)
