"""The quantile of the standard normal distribution behind every two-sided 95 % interval."""

from __future__ import annotations

from typing import Final

Z95: Final = 1.959963984540054  # standard errors on either side of an estimate
