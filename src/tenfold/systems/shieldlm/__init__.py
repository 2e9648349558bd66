"""ShieldLM: a safety detector that follows your rules and knows how sure it is.

Paper: Zhang et al., "ShieldLM: Empowering LLMs as Aligned, Customizable and Explainable Safety Detectors", arXiv 2402.16444.
Claim: one detector can follow natural-language rules that differ from request to request.

    ours        the paper's   meaning
    query       A             what the user said; may be empty
    response    B             what is judged
    rule        rule          a sentence that the verdict must follow; loose ones allow, strict ones forbid
    score       -             p(unsafe) + weight * p(controversial)
"""
