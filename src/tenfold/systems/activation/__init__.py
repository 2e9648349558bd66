"""Activation patterns of parameters (arXiv 2405.17799): how much would the output change if this one weight were zero?

Claim: |w * dD/dw|, one backward pass, ranks weights as zeroing each of them would; the audit says how well.

    ours        paper      meaning
    target      D          a scalar of the output; the paper's is the largest logit of the last token
    a_OI        a(x, w)    |w * dD/dw| of one text, for each weight of one matrix
    pattern     activation what a text leaves behind: a, or a small summary of it
"""
