"""Readers that turn real data into the tables of pricing.schema; each says what it derived. They decide no price."""

from pricing.datasets.loading import NAMES, load

__all__ = ["NAMES", "load"]
