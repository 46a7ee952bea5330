"""Stock: demand forecast, shadow prices, replenishment (docs/pricing-model.md, section 8)."""
