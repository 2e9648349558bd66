"""SlotSum: an entity abstract is a template of generic prose and the facts in its slots (arXiv 2402.18873).

Claim: every fact of a text stands in a named slot, and is corrected there, without touching what is right.

    ours       the paper's
    Template   T, prose with named slots
    facts      F = {(key, value)}
    knowledge  K, the knowledge base that facts are rectified by

What this home holds so far: derivation of templates, typed equivalence, knowledge bases, rectification and error injection.
"""
