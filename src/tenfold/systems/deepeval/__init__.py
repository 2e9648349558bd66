"""Does a model understand what a cartoon means? Questions that cannot be answered without looking at the picture.

Yang et al., "Can Large Multimodal Models Uncover Deep Semantics Behind Images?", arXiv 2402.11281 (the set is called
DEEPEVAL there; it has nothing to do with the package of that name on PyPI).
Claim: on our quads every image-blind, deterministic answerer scores exactly 25 %, so that what is above comes from looking.

    ours           the paper's                          meaning
    description    Fine-grained Description Selection   what is to be seen
    title          In-depth Title Matching              the title that fits the picture
    meaning        Deep Semantics Understanding         what the picture wants to say
    gold           Answer                               the right option
    block, quad    -                                    four pictures with the same four options
    BlockAcc       -                                    share of blocks with all four right
"""
