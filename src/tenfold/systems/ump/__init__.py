"""Unreasonable math problems: does a model notice that a problem makes no sense, and what does asking it to look cost?

Paper: Ma et al., "Large Language Models are Unconscious of Unreasonability in Math Problems", arXiv 2403.19346.
Claim: models answer senseless problems as if they were sound; Critical Calculation and Conclusion (CCC) helps.

    ours           the paper's      meaning
    sound          original         a problem with exactly one answer
    flawed         unreasonable     a problem without an answer, and a proof of that
    block          -                two sound and two flawed texts that share all their wordings
    placebo        -                a sound text that was edited in the same way as the flawed ones
    category       error type       inconsistent, undefined, units, illogical or assumption
"""
