"""What may move a price, how far, and whether groups pay alike (PRICING.md section 7)."""
