"""A shop's own tables from CSV files. Knows nothing of the contract beyond where the files lie."""

from __future__ import annotations

from pathlib import Path

from pricing.datasets.own import read_own
from pricing.tables import Tables


def read(data: Path) -> Tables:
    """Read ``<table>.csv`` or ``<table>.csv.gz``; errors as in :func:`pricing.datasets.own.read_own`."""
    return read_own(data, (".csv", ".csv.gz"), "csv")
