"""Covariates: columns of the impressions, beside the price, that shift demand, such as a place in a display.

A promoted item is often displayed and cheap at once. Without the display in the utility its effect counts as the
price's, and every item seems too sensitive. Covariates are controls of the utility and of the first stage
(docs/pricing-model.md, section 4); a price is set as if each were at its mean on the training pages.

>>> pages = pd.DataFrame({"display": [0, 1, 0, 1]})
>>> scaling = CovariateScaling.of(("display",), logged_values(pages, ("display",)))
>>> scaling.standardised(np.array([[1.0], [np.nan]])).tolist()
[[1.0], [0.0]]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairtag.demand.choices import Floats


@dataclass(frozen=True)
class CovariateScaling:
    """Centre and scale of the covariates on the training pages.

    Args:
        names: Columns of the impressions, V of them.
        mean: (V,) mean of each, at which prices are set.
        scale: (V,) its standard deviation, 1 where it does not vary.
    """

    names: tuple[str, ...]
    mean: Floats
    scale: Floats

    @classmethod
    def none(cls) -> CovariateScaling:
        """No covariates."""
        return cls((), np.zeros(0), np.zeros(0))

    @classmethod
    def of(cls, names: tuple[str, ...], values: Floats, weight: Floats | None = None) -> CovariateScaling:
        """Read centre and scale off values (N, V) of rows with a weight (N,); unknown values, NaN, take no part."""
        w = np.ones((len(values), 1)) if weight is None else weight[:, None]
        known = np.isfinite(values)
        count = (known * w).sum(axis=0)
        count = np.where(count > 0, count, 1.0)
        mean = np.where(known, w * values, 0.0).sum(axis=0) / count
        spread = np.sqrt(np.where(known, w * (values - mean) ** 2, 0.0).sum(axis=0) / count)
        return cls(names, mean, np.where(spread > 1e-12, spread, 1.0))

    def mean_of(self, name: str) -> float:
        """Mean of one covariate."""
        return float(self.mean[self.names.index(name)])

    def standardised(self, values: Floats) -> Floats:
        """(N, V) standardised values; an unknown one counts as the mean, 0."""
        return np.asarray(np.nan_to_num((values - self.mean) / self.scale, nan=0.0), dtype=np.float64)


def logged_values(frame: pd.DataFrame, names: tuple[str, ...]) -> Floats:
    """(rows, V) the columns of these names; NaN where the frame lacks one."""
    columns = [number_column(frame, name) for name in names]
    return np.column_stack(columns) if columns else np.zeros((len(frame), 0))


def number_column(frame: pd.DataFrame, name: str) -> Floats:
    """A numeric column; all NaN when the frame lacks it, and NaN for infinite values."""
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)
