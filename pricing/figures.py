"""Figures as people read them. Knows no unit."""

from __future__ import annotations

import math

EXACT = 1e4  # from here on a figure is whole, with thousands set apart
TINY = 1e-4  # below, the power of ten says more than the zeros


def figure(value: float) -> str:
    """Four significant digits, or the whole number where it has more: 0.04147, 12.5, 12,870, 253,500,000."""
    if not math.isfinite(value) or (value and abs(value) < TINY):
        return f"{value:.4g}"
    return f"{value:,.0f}" if abs(value) >= EXACT else f"{value:.4g}"
