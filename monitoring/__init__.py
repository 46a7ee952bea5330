"""Drift, performance and price-fairness jobs over the quote log."""
