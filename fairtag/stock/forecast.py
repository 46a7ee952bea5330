"""Forecast of each item's demand over the lead time: quantiles from past orders.

    forecast = forecast_demand(orders, items, now)
    forecast.quantiles(0.95), forecast.exceeds(stock)

Sales are summed over blocks as long as the lead time, counted back from now: the quantity that a stock decision needs.
The level comes from statsforecast's exponential smoothing. The spread is conformal: ratios of sales to forecast in the
newest blocks, pooled over items of similar level, so that an item that sells once a month gets a distribution with most
of its mass at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError

Floats = NDArray[np.float64]
SERIES, BLOCK, UNITS = "unique_id", "ds", "y"  # column names of statsforecast
SMOOTHING = 0.2  # weight of the newest block
SOFTENER = 0.5  # units added to a forecast before dividing by it
GRID = np.linspace(0.0, 1.0, 201)  # probabilities at which the ratio distribution is kept


@dataclass(frozen=True)
class ForecastConfig:
    """Settings of the forecast.

    Args:
        lead_days: Days from order to delivery; the forecast is of the sales in that time.
        windows: Number of newest blocks that are forecast from earlier ones to learn the spread.
        least_blocks: Blocks that an item must have before the first of them to take part.
        classes: Largest number of classes of level with a spread of their own.
        class_size: Smallest number of forecasts in a class.
    """

    lead_days: int = 7
    windows: int = 8
    least_blocks: int = 4
    classes: int = 10
    class_size: int = 200

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ConfigError(f"forecast: {name} is {value}; it must be at least 1")


@dataclass(frozen=True)
class Spread:
    """How demand scatters around its smoothed level.

    Args:
        edges: (classes - 1,) upper levels of all classes but the last.
        ratios: (classes, len(GRID)) quantiles of demand over ``level + SOFTENER``.
    """

    edges: Floats
    ratios: Floats

    def member(self, level: Floats) -> NDArray[np.int64]:
        """(n,) class of each level."""
        return np.searchsorted(self.edges, level).astype(np.int64)

    def quantiles(self, level: Floats, probabilities: ArrayLike) -> Floats:
        """Quantiles (n, len(probabilities)) of demand at levels (n,)."""
        wanted = np.atleast_1d(np.asarray(probabilities, dtype=np.float64))
        by_class = np.array([np.interp(wanted, GRID, row) for row in self.ratios])
        demand: Floats = (level[:, None] + SOFTENER) * by_class[self.member(level)]
        return demand

    def below(self, level: Floats, units: Floats) -> Floats:
        """(n,) probability that demand at levels (n,) is at most ``units`` (n,)."""
        ratio, member = units / (level + SOFTENER), self.member(level)
        below = np.ones_like(ratio)
        for k, quantiles in enumerate(self.ratios):
            below[member == k] = np.interp(ratio[member == k], *_increasing(quantiles))
        return below


@dataclass(frozen=True)
class DemandForecast:
    """Demand of each item over the lead time.

    Args:
        item_id: (n,) items in the order of the request.
        level: (n,) smoothed demand in units; 0 for an item that never sold.
        spread: How demand scatters around it.
        lead_days: Days of the lead time.
    """

    item_id: NDArray[np.object_]
    level: Floats
    spread: Spread
    lead_days: int

    def quantiles(self, probabilities: ArrayLike) -> Floats:
        """Quantiles of demand, shape (n, len(probabilities))."""
        return np.where(self.level[:, None] > 0, self.spread.quantiles(self.level, probabilities), 0.0)

    def exceeds(self, units: ArrayLike) -> Floats:
        """(n,) probability that demand over the lead time exceeds ``units``.

        It is interpolated between whole units, so that slow items are warned about too early rather than too late.
        """
        below = self.spread.below(self.level, np.asarray(units, dtype=np.float64))
        return np.where(self.level > 0, 1.0 - below, 0.0)

    @property
    def mean(self) -> Floats:
        """Expected demand, shape (n,): the area under the quantiles."""
        quantiles = self.quantiles(GRID)
        middle = 0.5 * (quantiles[:, 1:] + quantiles[:, :-1])
        return np.asarray((middle * np.diff(GRID)).sum(axis=1), dtype=np.float64)


def _increasing(quantiles: Floats) -> tuple[Floats, Floats]:
    """Distinct quantiles, and the probability of at most each."""
    value, last = np.unique(quantiles[::-1], return_index=True)
    return value, GRID[::-1][last]


def forecast_demand(
    orders: pd.DataFrame, items: ArrayLike, now: pd.Timestamp, config: ForecastConfig | None = None
) -> DemandForecast:
    """Forecast the demand of items over the lead time that begins now.

    Args:
        orders: Order lines (columns of ORDERS); those at or after ``now`` are ignored.
        items: Item ids.
        now: The present, in UTC.
        config: Settings.

    Raises:
        DataError: There are too few orders before ``now`` to learn a spread.
    """
    config = config or ForecastConfig()
    ids = np.asarray(items, dtype=object)
    blocks = demand_blocks(orders, now, config.lead_days)
    spread = spread_of(backtest(blocks, config), config)
    level = np.asarray(_smoothed(blocks).reindex(ids).fillna(0.0), dtype=np.float64)
    return DemandForecast(ids, level, spread, config.lead_days)


def demand_blocks(orders: pd.DataFrame, now: pd.Timestamp, lead_days: int) -> pd.DataFrame:
    """Units sold by item and block; block -1 ends at ``now``, and blocks without sales since the first are 0."""
    past = orders[orders[schema.TS] < now]
    block = ((past[schema.TS] - now) // pd.Timedelta(days=lead_days)).astype(np.int64)
    sold = past.groupby([past[schema.ITEM_ID], block.rename(BLOCK)])[schema.QUANTITY].sum()
    wide = sold.unstack(BLOCK, fill_value=0)
    if wide.empty:
        raise DataError(
            f"orders: there are none before {now}; a forecast needs past sales", table="orders", rule="not empty"
        )
    wide = wide.reindex(columns=range(int(block.min()), 0), fill_value=0.0)
    sold_before = wide.to_numpy().cumsum(axis=1) > 0
    item, column = np.nonzero(sold_before)
    return pd.DataFrame(
        {
            SERIES: wide.index.to_numpy(dtype=object)[item],
            BLOCK: wide.columns.to_numpy(dtype=np.int64)[column],
            UNITS: wide.to_numpy(dtype=np.float64)[item, column],
        }
    )


def backtest(
    blocks: pd.DataFrame, config: ForecastConfig, model: Any = None, *, levels: Sequence[int] = ()
) -> pd.DataFrame:
    """Forecast each of the newest blocks from those before it: columns series, block, units and ``level``.

    Args:
        blocks: Result of :func:`demand_blocks`.
        config: Number of windows, and which items take part.
        model: A model of statsforecast; exponential smoothing when None.
        levels: Levels (per cent) of the model's own intervals, as further columns such as ``lo-90`` and ``hi-90``.

    Raises:
        DataError: No item has enough blocks.
    """
    from statsforecast import StatsForecast

    least = config.windows + config.least_blocks
    size = blocks.groupby(SERIES)[UNITS].transform("size")
    used = blocks[size >= least]
    if used.empty:
        message = f"orders: no item has {least} blocks of sales; shorten the lead time, or use fewer windows"
        raise DataError(message, table="orders", rule=f"{least} blocks for an item")
    model = model or _smoother()
    engine = StatsForecast(models=[model], freq=1, n_jobs=1)
    wanted: dict[str, Any] = {"level": list(levels)} if levels else {}
    tried = engine.cross_validation(df=used, h=1, step_size=1, n_windows=config.windows, **wanted)
    named = tried if SERIES in tried.columns else tried.reset_index()
    made = {
        SERIES: named[SERIES].to_numpy(dtype=object),
        BLOCK: named[BLOCK].to_numpy(dtype=np.int64),
        UNITS: named[UNITS].to_numpy(dtype=np.float64),
        "level": np.maximum(named[repr(model)].to_numpy(dtype=np.float64), 0.0),
    }
    for end in (f"{side}-{level}" for level in levels for side in ("lo", "hi")):
        made[end] = named[f"{model!r}-{end}"].to_numpy(dtype=np.float64)
    return pd.DataFrame(made)


def _smoother() -> Any:
    from statsforecast.models import SimpleExponentialSmoothing

    return SimpleExponentialSmoothing(alpha=SMOOTHING, alias="smoothed")


def _smoothed(blocks: pd.DataFrame) -> pd.Series[float]:
    """Level of each item after its newest block."""
    from statsforecast import StatsForecast

    made = StatsForecast(models=[_smoother()], freq=1, n_jobs=1).forecast(df=blocks, h=1)
    named = made if SERIES in made.columns else made.reset_index()
    return named.set_index(SERIES)["smoothed"].astype("float64").clip(lower=0.0)


def spread_of(tried: pd.DataFrame, config: ForecastConfig) -> Spread:
    """Learn classes of level, and the distribution of demand in each, from a :func:`backtest`."""
    level, ratio = tried["level"].to_numpy(), (tried[UNITS] / (tried["level"] + SOFTENER)).to_numpy()
    classes = int(np.clip(len(tried) // config.class_size, 1, config.classes))
    edges = np.unique(np.quantile(level, np.linspace(0, 1, classes + 1)[1:-1]))
    member = np.searchsorted(edges, level)
    filled = np.unique(member)  # levels that tie at an edge can leave a class empty
    edges = np.array([level[member <= k].max() for k in filled[:-1]], dtype=np.float64)
    return Spread(edges, np.array([np.quantile(ratio[member == k], GRID) for k in filled]))


def pinball(demand: ArrayLike, quantiles: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Pinball loss (n,), mean over the quantiles: ``mean_t max(t (y - q_t), (t - 1) (y - q_t))``.

    Args:
        demand: (n,) units sold.
        quantiles: (n, k) forecast quantiles.
        probabilities: (k,) their probabilities.

    >>> pinball([10.0], [[8.0, 12.0]], [0.5, 0.9]).round(2).tolist()
    [0.6]
    """
    t = np.asarray(probabilities, dtype=np.float64)
    gap = np.asarray(demand, dtype=np.float64)[:, None] - np.asarray(quantiles, dtype=np.float64)
    loss: Floats = np.maximum(t * gap, (t - 1.0) * gap).mean(axis=1)
    return loss


def weighted_pinball(demand: ArrayLike, quantiles: ArrayLike, probabilities: ArrayLike, weight: ArrayLike) -> float:
    """Pinball loss in money over sales in money, ``sum w L / sum w y``; ``weight`` (n,) is the price of a unit."""
    w = np.asarray(weight, dtype=np.float64)
    sold = float((w * np.asarray(demand, dtype=np.float64)).sum())
    return float((w * pinball(demand, quantiles, probabilities)).sum()) / sold
