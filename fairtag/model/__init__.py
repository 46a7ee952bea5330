"""The model folder, its manifest, and the decision about it."""
