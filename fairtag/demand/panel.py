"""Elasticities of any panel of prices and quantities: three estimators side by side, errors clustered.

A panel is a table of sales: store-weeks, household-trips, anything with a price and a quantity in each row. Counts,
weights, covariates (display, feature, deal) and instruments (cost) are columns of it.

>>> import pandas as pd
>>> rng = np.random.default_rng(0)
>>> table = pd.DataFrame({"store": np.repeat(range(40), 50), "cost": rng.normal(0, 0.2, 2_000)})
>>> hidden, table["deal"] = rng.normal(0, 0.2, 2_000), rng.random(2_000) < 0.2
>>> log_price = table["cost"] + 0.5 * hidden - 0.1 * table["deal"] + rng.normal(0, 0.1, 2_000)
>>> table["price"] = np.exp(log_price)
>>> table["units"] = np.exp(4 - 2.5 * log_price + hidden + 0.4 * table["deal"] + rng.normal(0, 0.2, 2_000))
>>> panel = Panel.of(table, price="price", quantity="units", effects=["store"], covariates=["deal"],
...                  instruments=["cost"], cluster="store")
>>> for found in compare_elasticities(panel):
...     print(f"{found.method:17} {found.elasticity:.1f}")
log-log           -2.2
control function  -2.5
DML               -2.2

The hidden demand that moves prices too biases what does not use the instrument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairtag.base.errors import DataError
from fairtag.base.normal import Z95
from fairtag.demand.choices import Floats, Ints, group_sums
from fairtag.demand.control_function import WEAK

LOG_LOG, CONTROL_FUNCTION, DML = "log-log", "control function", "DML"
SWEEPS, CLOSE = 500, 1e-10  # of alternating projections: most sweeps, and the largest mean that is left
FOLDS = 5


@dataclass(frozen=True)
class Panel:
    """Rows of a panel as arrays.

    Args:
        log_quantity: (N,).
        log_price: (N,).
        covariates: (N, C).
        instruments: (N, Z).
        effects: (N,) codes of each set of fixed effects.
        weight: (N,) weight of each row, above 0.
        cluster: (N,) codes of the clusters of the errors.
        left_out: Rows left out, by reason.
    """

    log_quantity: Floats
    log_price: Floats
    covariates: Floats
    instruments: Floats
    effects: tuple[Ints, ...]
    weight: Floats
    cluster: Ints
    left_out: dict[str, int]

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        *,
        price: str,
        quantity: str,
        effects: Sequence[str] = (),
        covariates: Sequence[str] = (),
        instruments: Sequence[str] = (),
        weight: str | None = None,
        cluster: str | None = None,
    ) -> Panel:
        """Read a table; rows without a positive price, quantity and weight, or with an unknown value, are left out.

        Args:
            table: One row for each price and quantity.
            price: Column of the price.
            quantity: Column of the quantity, a count or an amount.
            effects: Columns whose values each have a fixed effect, such as item and store; ``"a*b"`` is one effect for
                each pair of values.
            covariates: Columns that shift demand: display, feature, deal.
            instruments: Columns that shift the price and nothing else: cost.
            weight: Column of weights; all rows weigh the same without it.
            cluster: Column within which errors may be correlated; every row is alone without it.

        Raises:
            DataError: A column is missing, or fewer rows are left than are needed.
        """
        named = [price, quantity, *covariates, *instruments, *filter(None, [weight, cluster])]
        named += [part for effect in effects for part in effect.split("*")]
        if absent := sorted(set(named) - set(table.columns)):
            raise DataError(
                f"panel: no column {', '.join(absent)}; the table has {', '.join(map(str, table.columns))}",
                column=absent[0],
            )
        numbers = table[[price, quantity, *covariates, *instruments, *([weight] if weight else [])]].astype(np.float64)
        values = numbers.to_numpy()
        positive = (values[:, :2] > 0).all(axis=1) & ((values[:, -1] > 0) if weight else True)
        known = np.isfinite(values).all(axis=1)
        keep = positive & known
        c, z = len(covariates), len(instruments)
        if keep.sum() < c + z + 10:
            raise DataError(
                f"panel: {int(keep.sum())} usable rows of {len(table)}; an estimate needs at least {c + z + 10}"
            )
        kept, used = table[keep], values[keep]
        return cls(
            log_quantity=np.log(used[:, 1]),
            log_price=np.log(used[:, 0]),
            covariates=used[:, 2 : 2 + c],
            instruments=used[:, 2 + c : 2 + c + z],
            effects=tuple(_codes(kept, effect.split("*")) for effect in effects),
            weight=used[:, -1] if weight else np.ones(len(used)),
            cluster=_codes(kept, [cluster]) if cluster else np.arange(len(used)),
            left_out={
                "price, quantity or weight not positive": int((known & ~positive).sum()),
                "unknown value": int((~known).sum()),
            },
        )


@dataclass(frozen=True)
class PanelElasticity:
    """An own-price elasticity of a panel.

    Args:
        method: Estimator.
        elasticity: Estimate; NaN where it could not be made.
        low: Lower end of the 95 % interval, errors clustered.
        high: Upper end.
        first_stage_f: F of the instruments, errors clustered; NaN for estimators without instruments.
        rows: Rows used.
        clusters: Clusters.
        note: Why there is no estimate, in words; empty otherwise.
    """

    method: str
    elasticity: float
    low: float
    high: float
    first_stage_f: float
    rows: int
    clusters: int
    note: str = ""


def compare_elasticities(panel: Panel, *, seed: int = 0) -> tuple[PanelElasticity, ...]:
    """The panel's own-price elasticity by log-log regression, control function and double machine learning.

    Fixed effects are taken out of everything first. The control function is two-stage least squares, whose coefficient
    equals that of a log-log regression with the first stage's residual; without instruments, or with weak ones (F
    below 10), it gives none. Double machine learning partials squares and products of the covariates out, cross-fitted
    over clusters.
    """
    y, x = (_within(panel, values) for values in (panel.log_quantity, panel.log_price))
    covariates, instruments = (_within(panel, values) for values in (panel.covariates, panel.instruments))
    if float(x.std()) < 1e-9:
        raise DataError("panel: the price does not vary within the fixed effects; name fewer of them")
    plain = _slope(panel, y, x, x, covariates)
    return (
        _named(panel, LOG_LOG, *plain),
        _control_function(panel, y, x, covariates, instruments),
        _named(panel, DML, *_double_machine_learning(panel, y, x, covariates, seed)),
    )


def _control_function(panel: Panel, y: Floats, x: Floats, covariates: Floats, instruments: Floats) -> PanelElasticity:
    nan = float("nan")
    if not instruments.shape[1]:
        return _named(panel, CONTROL_FUNCTION, nan, nan, note="no instruments are named")
    f_statistic, fitted = _first_stage(panel, x, covariates, instruments)
    if f_statistic < WEAK:
        note = f"weak instruments: F is {f_statistic:.1f}, below {WEAK:g}"
        return _named(panel, CONTROL_FUNCTION, nan, nan, f_statistic, note)
    return _named(panel, CONTROL_FUNCTION, *_slope(panel, y, x, fitted, covariates), f_statistic)


def _named(
    panel: Panel, method: str, slope: float, error: float, first_stage_f: float = float("nan"), note: str = ""
) -> PanelElasticity:
    reach, clusters = Z95 * error, int(panel.cluster.max()) + 1
    return PanelElasticity(
        method, slope, slope - reach, slope + reach, first_stage_f, len(panel.weight), clusters, note
    )


def _slope(panel: Panel, y: Floats, x: Floats, fitted: Floats, covariates: Floats) -> tuple[float, float]:
    """Slope of y on x and its clustered error; ``fitted`` is x itself, or its first-stage prediction (two stages)."""
    design, actual = np.column_stack([fitted, covariates]), np.column_stack([x, covariates])
    coefficients, bread = _least_squares(panel, design, y)
    covariance = _clustered(panel, design, y - actual @ coefficients, bread)
    return float(coefficients[0]), float(np.sqrt(covariance[0, 0]))


def _first_stage(panel: Panel, x: Floats, covariates: Floats, instruments: Floats) -> tuple[float, Floats]:
    """F of the instruments with clustered errors, and the predicted price."""
    design, z = np.column_stack([instruments, covariates]), instruments.shape[1]
    coefficients, bread = _least_squares(panel, design, x)
    covariance = _clustered(panel, design, x - design @ coefficients, bread)[:z, :z]
    own = coefficients[:z]
    f_statistic = float(own @ np.linalg.pinv(covariance, hermitian=True) @ own / z)
    return f_statistic, np.asarray(design @ coefficients, dtype=np.float64)


def _double_machine_learning(panel: Panel, y: Floats, x: Floats, covariates: Floats, seed: int) -> tuple[float, float]:
    left, right = np.triu_indices(covariates.shape[1])
    wide = np.column_stack([covariates, covariates[:, left] * covariates[:, right]])
    wide = wide[:, wide.std(axis=0) > 1e-12]
    wide = wide / wide.std(axis=0) if wide.shape[1] else wide
    n_clusters = int(panel.cluster.max()) + 1
    fold = np.random.default_rng(seed).permutation(np.arange(n_clusters) % min(FOLDS, n_clusters))[panel.cluster]
    residuals = []
    for target in (y, x):
        residual = target.copy()
        for k in np.unique(fold) if wide.shape[1] and n_clusters > 1 else ():
            held = fold == k
            weighted = wide[~held] * panel.weight[~held, None]
            ridge = weighted.T @ wide[~held] + np.eye(wide.shape[1])
            residual[held] -= wide[held] @ np.linalg.solve(ridge, weighted.T @ target[~held])
        residuals.append(residual)
    return _slope(panel, residuals[0], residuals[1], residuals[1], np.zeros((len(y), 0)))


def _least_squares(panel: Panel, design: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Weighted least squares: coefficients, and the inverse of ``X' W X``."""
    weighted = design * panel.weight[:, None]
    bread = np.asarray(np.linalg.pinv(weighted.T @ design, hermitian=True), dtype=np.float64)
    return bread @ (weighted.T @ y), bread


def _clustered(panel: Panel, design: Floats, residual: Floats, bread: Floats) -> Floats:
    """(K, K) covariance of the coefficients, errors clustered, with the usual small-sample factor."""
    n, k = design.shape
    n_clusters = int(panel.cluster.max()) + 1
    scores = group_sums(panel.cluster, design * (panel.weight * residual)[:, None], n_clusters)
    factor = n_clusters / max(n_clusters - 1, 1) * (n - 1) / max(n - k, 1)
    covariance: Floats = factor * bread @ (scores.T @ scores) @ bread
    return covariance


def _within(panel: Panel, values: Floats) -> Floats:
    """Values (N,) or (N, C) without the fixed effects and the mean: alternating projections, weighted."""
    if not values.size:
        return values
    inside = values.reshape(len(values), -1).astype(np.float64)
    inside = inside - np.average(inside, axis=0, weights=panel.weight)
    for _ in range(SWEEPS):
        largest = 0.0
        for code in panel.effects:
            total = np.bincount(code, weights=panel.weight)
            means = group_sums(code, inside * panel.weight[:, None], total.size) / total[:, None]
            inside = inside - means[code]
            largest = max(largest, float(np.abs(means).max(initial=0.0)))
        if largest < CLOSE or len(panel.effects) < 2:
            break
    return inside.reshape(values.shape)


def _codes(table: pd.DataFrame, columns: Sequence[str]) -> Ints:
    return np.asarray(table.groupby(list(columns), sort=True, observed=True, dropna=False).ngroup(), dtype=np.int64)
