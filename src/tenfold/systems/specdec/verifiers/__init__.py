"""What of a draft is kept. Each rule is a class of its own file; `VERIFIERS` names them for settings and the command line.

greedy    keep a token iff it is the target's argmax
sample    keep it with probability min(1, p/q), else draw from what q left of p; a chain or a tree of siblings
delta     the same without q: keep it with probability p
block     decide on the whole chain at once; keeps at least as many tokens as `sample`
coupled   keep it iff the target, under its noise for that position, draws it too
typical   lossy: keep what is not too unlikely for the target
lenient   lossy: as `sample`, with the target's probabilities inflated
"""

from tenfold.core.registry import Registry

_HERE = "tenfold.systems.specdec.verifiers"

VERIFIERS = Registry(
    "verifier",
    {
        "greedy": f"{_HERE}.greedy:Greedy",
        "sample": f"{_HERE}.sample:Sample",
        "delta": f"{_HERE}.delta:Delta",
        "tree": f"{_HERE}.sample:Sample",
        "block": f"{_HERE}.block:Block",
        "coupled": f"{_HERE}.coupled:Coupled",
        "typical": f"{_HERE}.typical:Typical",
        "lenient": f"{_HERE}.lenient:Lenient",
    },
)
