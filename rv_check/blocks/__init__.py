"""A residual block of one's own, against a contract, and in a network's stages."""
