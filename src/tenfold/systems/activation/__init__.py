"""Activation patterns of parameters (arXiv 2405.17799): how much would the output change if this one weight were zero?

Claim: |w * dD/dw|, one backward pass, ranks weights as zeroing each of them would; the audit says how well. The patterns
show what texts have in common, say how much each layer can be pruned, and choose the texts to prune by.

    ours        paper      meaning
    target      D          a scalar of the output; the paper's is the largest logit of the last token
    a_OI        a(x, w)    |w * dD/dw| of one text, for each weight of one matrix
    pattern     activation what a text leaves behind: a, or a small summary of it
    signature              a text's patterns as a short vector a layer: sums over rows and columns, or a count sketch
    density     share of activated parameters: weights of a layer whose mean a lies above a threshold of all layers
    plan        pruning ratios: the sparsity of each layer, with the exact mean that was asked for
"""
