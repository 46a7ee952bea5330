"""What may move a price, how far, and whether groups pay alike (docs/pricing-model.md, section 7)."""
