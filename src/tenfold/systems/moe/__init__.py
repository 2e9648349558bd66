"""DeepSeekMoE: fine-grained experts, some of them shared by every token.

Dai et al. 2024, arXiv 2401.06066. Claim: cutting each expert into m finer ones and keeping K_s of them always on lets
experts specialise, so that a model with the same total and activated parameters learns more per token.

    ours                  paper     meaning
    n_routed_experts      mN - K_s  experts that tokens choose from
    num_experts_per_tok   mK - K_s  experts that each token chooses
    n_shared_experts      K_s       experts that see every token, without a gate
    score_TN              s_i,t     softmax of the router over the routed experts
    weight_TK             g_i,t     the scores of the chosen experts, not normalised again
    activated_ffns        a         activated feed-forward width, in standard feed-forward layers
"""
