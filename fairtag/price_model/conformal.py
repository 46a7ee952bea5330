"""Prediction intervals with valid coverage on new items: conformalised quantile regression by group.

Romano, Patterson and Candes, "Conformalized Quantile Regression", NeurIPS 2019, in the relative form of Sesia and
Candes (2020): each group stretches the width by a factor, so that the ends cannot cross. Groups are calibrated by
themselves, as in Vovk's Mondrian predictors. Residuals are cross-fitted, so that no row is set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import QuantileRegressor

Floats = NDArray[np.float64]

MIN_GROUP = 40  # smaller groups have too few rows for a 5 % quantile and use the pooled stretch
MOST_ROWS = 3000  # rows of one quantile regression, a linear programme; few coefficients need no more
NARROWEST = 0.05  # smallest half-width, as a share of the pooled width; quantile lines may cross outside the data
POOLED = ""  # name of the group of all rows


@dataclass(frozen=True)
class Intervals:
    """Interval of a residual given its features: median -+ stretch[group] times the distance to the quantile.

    Args:
        coefficients: (3, k + 1) of the lower quantile, the median and the upper quantile; intercept first.
        groups: Groups with their own stretch; the pooled group first.
        corrections: (groups, 2) stretch of the lower and of the upper side.
        narrowest: Smallest distance from the median to a quantile.
    """

    coefficients: Floats
    groups: tuple[str, ...]
    corrections: Floats
    narrowest: float

    def ends(self, features: Floats, groups: Sequence[str]) -> tuple[Floats, Floats]:
        """Lower and upper end, each (n,), of the residuals of rows with features (n, k); they never cross."""
        place = {name: row for row, name in enumerate(self.groups)}
        stretch = self.corrections[[place.get(name, 0) for name in groups]]
        middle, down, up = _sides(self.coefficients, features, self.narrowest)
        low, high = middle - stretch[:, 0] * down, middle + stretch[:, 1] * up
        return np.minimum(low, high), np.maximum(low, high)


def fit_intervals(
    residuals: Floats, features: Floats, groups: Sequence[str], coverage: float = 0.9, seed: int = 0
) -> Intervals:
    """Quantile lines of cross-fitted residuals, stretched until each group has its coverage.

    The stretches come from rows on which the lines were not fitted (two halves, each way).

    Args:
        residuals: (n,) truth minus an out-of-fold prediction.
        features: (n, k) features on which the spread may depend.
        groups: (n,) group of each row.
        coverage: Share of new rows that the interval should hold; each tail gets half of the rest.
        seed: Seed of the halves.
    """
    tail = (1.0 - coverage) / 2.0
    rng = np.random.default_rng(seed)
    half = rng.permutation(len(residuals)) % 2 == 0
    narrowest = max(NARROWEST * float(np.ptp(np.quantile(residuals, [tail, 1.0 - tail]))), 1e-9)
    below, above = np.zeros(len(residuals)), np.zeros(len(residuals))
    for fitted in (half, ~half):
        lines = _quantile_lines(residuals[fitted], features[fitted], tail, rng)
        middle, down, up = _sides(lines, features[~fitted], narrowest)
        below[~fitted], above[~fitted] = (middle - residuals[~fitted]) / down, (residuals[~fitted] - middle) / up
    names = np.asarray(groups, dtype=object)
    sizes = {str(name): int((names == name).sum()) for name in dict.fromkeys(groups)}
    kept = (POOLED, *sorted(name for name, size in sizes.items() if size >= MIN_GROUP and name != POOLED))
    rows = [np.ones(len(names), dtype=bool) if name == POOLED else names == name for name in kept]
    corrections = [[_conformal_quantile(side[mask], 1.0 - tail) for side in (below, above)] for mask in rows]
    return Intervals(_quantile_lines(residuals, features, tail, rng), kept, np.asarray(corrections), narrowest)


def _quantile_lines(residuals: Floats, features: Floats, tail: float, rng: np.random.Generator) -> Floats:
    if len(residuals) > MOST_ROWS:
        chosen = rng.choice(len(residuals), MOST_ROWS, replace=False)
        residuals, features = residuals[chosen], features[chosen]
    lines = []
    for quantile in (tail, 0.5, 1.0 - tail):
        fit = QuantileRegressor(quantile=quantile, alpha=0.0, solver="highs").fit(features, residuals)
        lines.append(np.concatenate([[fit.intercept_], fit.coef_]))
    return np.asarray(lines, dtype=np.float64)


def _sides(coefficients: Floats, features: Floats, narrowest: float) -> tuple[Floats, Floats, Floats]:
    """Median (n,), and its distances to the two quantiles, each at least ``narrowest``."""
    low, middle, high = coefficients[:, :1] + coefficients[:, 1:] @ features.T
    return middle, np.maximum(middle - low, narrowest), np.maximum(high - middle, narrowest)


def _conformal_quantile(scores: Floats, level: float) -> float:
    """The ceil((n + 1) level)-th smallest score; the largest if there are fewer."""
    ordered = np.sort(scores)
    rank = int(np.ceil((len(ordered) + 1) * level))
    return float(ordered[min(rank, len(ordered)) - 1])
