"""One priced page: problem, prices, reason codes, explanation (docs/pricing-model.md, sections 5, 6 and 11)."""
