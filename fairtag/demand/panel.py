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
from scipy import stats

from fairtag.base.errors import DataError
from fairtag.demand.absorbed_effects import absorbed, codes_of, within
from fairtag.demand.choices import Floats, Ints, group_sums
from fairtag.demand.control_function import WEAK
from fairtag.demand.panel_columns import copies, left_out, numbers, require_columns, require_other_than_price

LOG_LOG, CONTROL_FUNCTION, DML = "log-log", "control function", "DML"
FOLDS = 5
VARIES = 1e-9  # share of a column's variance within the effects below which it does not vary there
FAR = 20.0  # times the median price of their effects: prices that may be in another unit
MANY = 0.01  # share of rows with a quantity of 0 that is worth a word


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
        absorbed: Coefficients that the fixed effects take, as the errors count them.
        notes: What a reader should look at, in words.
        names: Columns of covariates and instruments.
    """

    log_quantity: Floats
    log_price: Floats
    covariates: Floats
    instruments: Floats
    effects: tuple[Ints, ...]
    weight: Floats
    cluster: Ints
    left_out: dict[str, int]
    absorbed: int
    notes: tuple[str, ...] = ()
    names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

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
            weight: Column of weights, in any unit; all rows weigh the same without it.
            cluster: Column within which errors may be correlated; every row is alone without it.

        Raises:
            DataError: A column is missing, named twice, no number or the price again, fewer rows are left than are
                needed, or all are in one cluster.
        """
        covariates, instruments = list(dict.fromkeys(covariates)), list(dict.fromkeys(instruments))
        own = list(filter(None, [weight]))
        roles: dict[str, Sequence[str]] = {
            "price": [price],
            "quantity": [quantity],
            "covariates": covariates,
            "instruments": instruments,
            "others": [*own, *filter(None, [cluster]), *(part for effect in effects for part in effect.split("*"))],
        }
        require_columns(table, roles)
        values = numbers(table, [price, quantity, *covariates, *instruments, *own])
        labels = table[[name for name in dict.fromkeys(roles["others"]) if name != weight]]
        keep, reasons = left_out(values, [price, quantity, *own], labels)
        needed = len(covariates) + len(instruments) + 10
        if keep.sum() < needed:
            why = "; ".join(f"{count:,} rows have {reason}" for reason, count in reasons.items())
            raise DataError(
                f"panel: {int(keep.sum())} usable rows of {len(table):,}; an estimate needs at least {needed}"
                + (f": {why}" if why else "")
            )
        kept, used = table[keep], values[keep]
        require_other_than_price(used, price, [*covariates, *instruments])
        clusters = codes_of(kept, [cluster]) if cluster else np.arange(len(used))
        if cluster and not clusters.any():
            raise DataError(
                f"panel: cluster {cluster!r} has the one value {kept[cluster].iloc[0]}; errors need at least two "
                "clusters, and tens to be right: name another column, or none where rows are independent",
                column=cluster,
                rule="at least two clusters",
            )
        codes = tuple(codes_of(kept, effect.split("*")) for effect in effects)
        weights = used[weight].to_numpy() if weight else np.ones(len(used))
        return cls(
            log_quantity=np.log(used[quantity].to_numpy()),
            log_price=np.log(used[price].to_numpy()),
            covariates=used[covariates].to_numpy(),
            instruments=used[instruments].to_numpy(),
            effects=codes,
            weight=weights / weights.mean(),
            cluster=clusters,
            left_out=reasons,
            absorbed=absorbed(codes, clusters),
            notes=_notes(kept, used[price], codes, values.loc[values[price] > 0, quantity]),
            names=(tuple(covariates), tuple(instruments)),
        )


def _notes(
    table: pd.DataFrame, price: pd.Series[float], effects: Sequence[Ints], quantity: pd.Series[float]
) -> tuple[str, ...]:
    """What may be wrong with a table that can be read, in words."""
    notes = []
    if again := int(copies(table).sum()):
        notes.append(
            f"{again:,} rows are copies of others in every column and count as often as they are there; remove them "
            "where the export repeated them"
        )
    group = effects[0] if effects else np.zeros(len(price), dtype=np.int64)
    away = price / price.groupby(group).transform("median")
    if (far := (away > FAR) | (away < 1 / FAR)).any():
        notes.append(
            f"{int(far.sum()):,} prices such as {price[far].iloc[0]:g} are more than {FAR:g} times the usual one or "
            "less than that part of it: look whether some are in another unit"
        )
    nothing = int((quantity == 0).sum())
    if nothing > MANY * len(quantity):
        notes.append(
            f"{nothing / len(quantity):.0%} of the rows sold nothing, and logs leave them out, which pulls an "
            "elasticity towards 0 where these are dear: sum longer periods, or count visits and use --outside"
        )
    return tuple(notes)


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
    over clusters. Intervals are those of Student's t with as many degrees of freedom as there are clusters, less one.

    Raises:
        DataError: The price does not vary beside effects and covariates, or nothing but the instruments moves it.
        NotConverged: Several effects could not be told apart.
    """
    y, x = (within(values, panel.effects, panel.weight) for values in (panel.log_quantity, panel.log_price))
    covariates, instruments = (
        within(values, panel.effects, panel.weight) for values in (panel.covariates, panel.instruments)
    )
    _require_price_variation(panel, x, covariates)
    plain = _slope(panel, y, x, x, covariates)
    return (
        _named(panel, LOG_LOG, *plain),
        _control_function(panel, y, x, covariates, instruments),
        _named(panel, DML, *_double_machine_learning(panel, y, x, covariates, seed)),
    )


def _require_price_variation(panel: Panel, x: Floats, covariates: Floats) -> None:
    within, whole = _variance(panel, x), _variance(panel, panel.log_price - panel.log_price.mean())
    if within <= VARIES * whole or whole == 0.0:
        raise DataError("panel: the price does not vary within the fixed effects; name fewer of them")
    if _variance(panel, _residual(panel, x, covariates)) <= VARIES * within:
        raise DataError(
            f"panel: within the fixed effects the price follows from {', '.join(panel.names[0])}; nothing tells its "
            "effect from theirs: leave out what is made from the price",
            column=panel.names[0][0],
            rule="the price varies beside the covariates",
        )


def _control_function(panel: Panel, y: Floats, x: Floats, covariates: Floats, instruments: Floats) -> PanelElasticity:
    nan = float("nan")
    if not instruments.shape[1]:
        return _named(panel, CONTROL_FUNCTION, nan, nan, note="no instruments are named")
    own, fixed = _moving(panel, covariates, instruments)
    said = f"{', '.join(fixed)}: no variation of its own" if fixed else ""
    if not own.shape[1]:
        return _named(panel, CONTROL_FUNCTION, nan, nan, note=said)
    f_statistic, fitted = _first_stage(panel, x, covariates, own)
    if _variance(panel, x - fitted) <= VARIES * _variance(panel, x):
        raise DataError(
            f"panel: {', '.join(panel.names[1])} give the price exactly, within the fixed effects; an instrument that "
            "is made from the price moves with hidden demand as it does: name a cost or a wholesale price",
            column=panel.names[1][0],
            rule="instruments that are not the price",
        )
    if f_statistic < WEAK:
        weak = f"weak instruments: F is {f_statistic:.1f}, below {WEAK:g}"
        return _named(panel, CONTROL_FUNCTION, nan, nan, f_statistic, "; ".join(filter(None, [weak, said])))
    return _named(panel, CONTROL_FUNCTION, *_slope(panel, y, x, fitted, covariates), f_statistic, said)


def _moving(panel: Panel, covariates: Floats, instruments: Floats) -> tuple[Floats, list[str]]:
    """The instruments that vary beside effects, covariates and the instruments before them, and the others' names."""
    kept, fixed = covariates, []
    for k, name in enumerate(panel.names[1]):
        column = instruments[:, [k]]
        whole = panel.instruments[:, k] - panel.instruments[:, k].mean()
        if _variance(panel, _residual(panel, column[:, 0], kept)) <= VARIES * _variance(panel, whole):
            fixed.append(name)
        else:
            kept = np.column_stack([kept, column])
    return kept[:, covariates.shape[1] :], fixed


def _residual(panel: Panel, target: Floats, columns: Floats) -> Floats:
    if not columns.shape[1]:
        return target
    root = np.sqrt(panel.weight)
    scale = np.maximum(columns.std(axis=0), 1e-300)
    solved = np.linalg.lstsq(columns / scale * root[:, None], target * root)[0]
    return np.asarray(target - columns / scale @ solved, dtype=np.float64)


def _variance(panel: Panel, values: Floats) -> float:
    return float(np.average(values**2, weights=panel.weight))


def _named(
    panel: Panel, method: str, slope: float, error: float, first_stage_f: float = float("nan"), note: str = ""
) -> PanelElasticity:
    clusters = int(panel.cluster.max()) + 1
    reach = float(stats.t.ppf(0.975, clusters - 1)) * error
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
    wide = within(wide, panel.effects, panel.weight)
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
    """(K, K) covariance of the coefficients, errors clustered, with the usual small-sample factor (effects count)."""
    n, k = design.shape
    n_clusters = int(panel.cluster.max()) + 1
    scores = group_sums(panel.cluster, design * (panel.weight * residual)[:, None], n_clusters)
    factor = n_clusters / (n_clusters - 1) * (n - 1) / max(n - k - panel.absorbed, 1)
    covariance: Floats = factor * bread @ (scores.T @ scores) @ bread
    return covariance
