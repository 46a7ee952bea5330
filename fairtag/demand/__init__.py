"""Demand on a page of search results: estimated, calibrated, cross-checked (docs/pricing-model.md, section 4)."""
