"""The Feast repository: definitions only; column names come from pricing.schema."""
