"""The exact prices of a page under logit demand (docs/pricing-model.md)."""
