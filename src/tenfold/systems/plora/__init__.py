"""PeriodicLoRA (arXiv 2402.16141): train LoRA in short stages, and unload each stage's update into the weights.

Claim: the sum of T updates of rank r reaches rank T*r at the memory of rank r.

    ours         paper / LoRA          meaning
    a_RI, b_OR   A, B                  the live pair of one matrix
    scaling      s                     alpha / r
    momentum     m                     share of the live update that is unloaded
    ledger       (the merged weights)  sum S of all that was unloaded; kept as factors, never added to W0 for good
"""
