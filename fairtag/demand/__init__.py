"""Demand on a page of search results: estimated, calibrated, cross-checked (PRICING.md section 4)."""
