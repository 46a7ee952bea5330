"""The reference profile: what quotes looked like in training."""
