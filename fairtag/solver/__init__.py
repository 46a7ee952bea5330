"""The exact page solver (docs/pricing-model.md, section 5)."""
