"""Everything that fits a model, ending in a model folder."""
