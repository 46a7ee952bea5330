"""The Feast repository: definitions only; column names come from fairtag.base.schema."""
