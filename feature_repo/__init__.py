"""The Feast repository: definitions and a configuration for each environment; fairtag.base.schema names the columns."""
