"""DiSRouter: every model is an agent that answers or rejects (Zheng et al. 2025)."""
