"""A shop's tables, real data sets and splits; each reader says what it derived."""

from fairtag.data.loading import NAMES, load

__all__ = ["NAMES", "load"]
