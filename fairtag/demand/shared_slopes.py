"""One price slope for the items of a nest: near-identical items are priced by what the purchases of all of them say.

Estimated one by one, two listings of one mug get two slopes that differ by chance, and so two prices.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fairtag.demand.choices import Floats, Ints, group_sums
from fairtag.demand.logit import Laplace, LogitFit


def alike(values: Floats, nest: Ints) -> Floats:
    """Values of the items (I, k), each the mean of its nest."""
    count = np.maximum(np.bincount(nest, minlength=nest.size), 1)
    return (group_sums(nest, values, nest.size) / count[:, None])[nest] if values.size else values


def share_slopes(fit: LogitFit, spread: Laplace, nest: Ints, precision: float) -> tuple[LogitFit, Laplace]:
    """The same posterior with one slope effect for the items of a nest.

    What each item's purchases say of the slope, beyond the prior, adds up: ``1 / variance = sum_i 1 / c_i - (n - 1)
    precision`` with ``c_i`` the variance of item i alone. Levels keep their regression on the slope, so that no item's
    sales at its usual price change.

    Args:
        fit: The optimum, with effects (I, 2) on level and slope.
        spread: Its covariance.
        nest: (I,) nest of each item.
        precision: Prior precision of the slope effects.
    """
    count = np.bincount(nest, minlength=nest.size)
    if count.max(initial=0) < 2:
        return fit, spread
    own = spread.conditional[:, 1, 1]
    weight = 1.0 / own
    whole = np.bincount(nest, weights=weight, minlength=nest.size) - (count - 1) * precision
    whole = np.maximum(whole, precision)[nest]
    share = (weight / whole)[:, None]
    slope = np.bincount(nest, weights=share[:, 0] * fit.effects[:, 1], minlength=nest.size)[nest]
    gain = group_sums(nest, share * spread.gain[:, 1], nest.size)[nest]
    follow = spread.conditional[:, 0, 1] / own  # of the level, for a unit of the slope
    effects, gains, conditional = fit.effects.copy(), spread.gain.copy(), spread.conditional.copy()
    effects[:, 0] += follow * (slope - effects[:, 1])
    effects[:, 1] = slope
    gains[:, 0] += follow[:, None] * (gain - gains[:, 1])
    gains[:, 1] = gain
    conditional[:, 0, 0] += follow**2 * (1.0 / whole - own)
    conditional[:, 0, 1] = conditional[:, 1, 0] = follow / whole
    conditional[:, 1, 1] = 1.0 / whole
    return replace(fit, effects=effects), replace(spread, gain=gains, conditional=conditional)
