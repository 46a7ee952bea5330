"""A year of real invoices: is next week's demand forecast better than by the seasonal naive rule?

The last weeks are held out, and each is forecast from the weeks before it. The spread of a forecast is learned on still
earlier weeks, ours and the baseline's in the same way; a second baseline has the library's own intervals.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.result import Result, Row
from fairtag.base import schema
from fairtag.data import load
from fairtag.stock.forecast import (
    BLOCK,
    SERIES,
    UNITS,
    Floats,
    ForecastConfig,
    backtest,
    demand_blocks,
    pinball,
    spread_of,
    weighted_pinball,
)

PROBABILITIES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
HELD_OUT_WEEKS = 8
LAST_WHOLE_WEEK = pd.Timestamp("2011-12-05", tz="UTC")  # Monday of the last week, which is incomplete
DRAWS, SEED = 1_000, 0
NOTES = (
    "Pinball loss over seven quantiles in money (list price x units), over sales in money; lower is better. Intervals: "
    "95 % bootstrap of items, the forecasts fixed. An item's sales count from its first sale on.",
    "Seasonal naive: the sales of the week before. Rows *_same_spread give it our pooled conformal spread, so that "
    "only the level differs; rows *_library give it the library's own intervals.",
    "One year of data: no yearly season can be learned, and the held-out weeks run into Christmas. Sales alone cannot "
    "foresee a wholesaler's bulk orders, so the loss stays high for every method.",
)


def run(data: Path) -> Result:
    """Run the study on the invoices under ``data``.

    Raises:
        MissingDataError: ``data`` holds no invoices.
    """
    tables = load("online-retail", data)
    price = tables.latest_items().set_index(schema.ITEM_ID)[schema.LIST_PRICE]
    rows = forecast_rows(tables.orders, price, LAST_WHOLE_WEEK)
    return Result(tuple(rows), NOTES)


def forecast_rows(orders: pd.DataFrame, price: pd.Series[float], now: pd.Timestamp) -> list[Row]:
    """Loss of our forecast and of both baselines on the held-out weeks, and their ratios.

    Args:
        orders: Order lines.
        price: Money per unit by item, the weight of its units.
        now: End of the last held-out week.
    """
    from statsforecast.models import SeasonalNaive

    config = ForecastConfig(windows=2 * HELD_OUT_WEEKS)
    blocks = demand_blocks(orders, now, config.lead_days)
    naive = SeasonalNaive(season_length=1, alias="naive")
    ours, theirs = backtest(blocks, config), backtest(blocks, config, naive)
    held_out = (ours[BLOCK] >= -HELD_OUT_WEEKS).to_numpy()
    scored = ours[held_out]
    weight, demand = price.reindex(scored[SERIES]).to_numpy(float), scored[UNITS].to_numpy(float)
    quantiles = {
        "ours": _conformal(ours, held_out, config),
        "naive_same_spread": _conformal(theirs, held_out, config),
        "naive_library": _library(blocks, config, naive),
    }
    loss = {name: weight * pinball(demand, q, PROBABILITIES) for name, q in quantiles.items()}
    items = pd.factorize(scored[SERIES])[0]
    rows = [
        Row(f"weighted_pinball_{name}", weighted_pinball(demand, q, PROBABILITIES, weight), unit="of sales")
        for name, q in quantiles.items()
    ]
    rows += [_ratio(f"ours_over_{name}", loss["ours"], loss[name], items) for name in list(loss)[1:]]
    covered = (demand[:, None] <= quantiles["ours"]).mean(axis=0)
    rows += [
        Row(f"coverage_of_quantile_{p:g}", float(c), reference=p)
        for p, c in zip(PROBABILITIES, covered, strict=True)
        if p >= 0.5  # below, most items sell nothing in most weeks, and every quantile covers zero
    ]
    return [*rows, Row("item_weeks", float(len(scored))), Row("items", float(items.max() + 1))]


def _conformal(tried: pd.DataFrame, held_out: np.ndarray[Any, Any], config: ForecastConfig) -> Floats:
    """Quantiles of the held-out rows, with the spread of the windows before them."""
    learned = spread_of(tried[~held_out], config)
    return learned.quantiles(tried.loc[held_out, "level"].to_numpy(float), PROBABILITIES)


def _library(blocks: pd.DataFrame, config: ForecastConfig, model: Any) -> Floats:
    """Quantiles of the held-out weeks from the library's own intervals, cut at zero."""
    levels = sorted({round(100 * abs(2 * p - 1)) for p in PROBABILITIES} - {0})
    kept = replace(config, windows=HELD_OUT_WEEKS, least_blocks=config.least_blocks + HELD_OUT_WEEKS)
    made = backtest(blocks, kept, model, levels=levels)
    columns = [
        "level" if p == 0.5 else f"{'lo' if p < 0.5 else 'hi'}-{round(100 * abs(2 * p - 1))}" for p in PROBABILITIES
    ]
    quantiles: Floats = np.maximum(made[columns].to_numpy(float), 0.0)
    return quantiles


def _ratio(name: str, ours: Floats, theirs: Floats, items: np.ndarray[Any, Any]) -> Row:
    """Ratio of two losses with a bootstrap over items."""
    sums = np.column_stack([np.bincount(items, weights=loss) for loss in (ours, theirs)])
    rng = np.random.default_rng(SEED)
    n = len(sums)
    draws = np.array([rng.multinomial(n, np.full(n, 1.0 / n)) @ sums for _ in range(DRAWS)])
    low, high = np.quantile(draws[:, 0] / draws[:, 1], (0.025, 0.975))
    return Row(name, float(ours.sum() / theirs.sum()), float(low), float(high), unit="ratio", reference=1.0)
