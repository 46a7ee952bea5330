"""Demand on a results page: estimation, calibration and cross-check (docs/pricing-model.md, section 4)."""
