"""A simulated shop with planted, recoverable demand. Knows nothing of estimators, models or policies."""
