"""Replenishment: warnings before an item sells out or ages, and how much to order.

report = stock_report(forecast, stock)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.stock.forecast import DemandForecast

# Columns of the report, beside item_id and stock
WARNING, PROBABILITY, EXPECTED, ORDER_UP_TO, ORDER, COVER_DAYS = (
    *("warning", "stock_out_probability", "expected_demand", "order_up_to", "order_units", "cover_days"),
)
ROUNDING = 1e-9  # stock exactly at its target raises no warning


class StockWarning(StrEnum):
    """Kind of a stock warning."""

    STOCK_OUT = "STOCK_OUT"  # demand over the lead time is likely to exceed stock
    AGEING = "AGEING"  # stock lasts too long at the expected rate of sales


@dataclass(frozen=True)
class StockPolicy:
    """When to warn, and how much to order.

    Args:
        risk: Warn if demand over the lead time exceeds stock with a higher probability.
        service: Probability with which the order-up-to level covers demand over the lead time.
        ageing_days: Warn if stock lasts longer at the expected rate of sales.
    """

    risk: float = 0.05
    service: float = 0.95
    ageing_days: float = 180.0

    def __post_init__(self) -> None:
        for name in ("risk", "service"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ConfigError(f"stock policy: {name} is {getattr(self, name)}; it must lie between 0 and 1")
        if not self.ageing_days > 0:
            raise ConfigError(f"stock policy: ageing_days is {self.ageing_days}; it must be above 0")


def stock_report(forecast: DemandForecast, stock: pd.Series[float], policy: StockPolicy | None = None) -> pd.DataFrame:
    """Risk, order and warning of each item, highest risk first.

    The order-up-to level is the ``service`` quantile of demand over the lead time, for orders placed once in a lead
    time.

    Args:
        forecast: Demand over the lead time.
        stock: Units on hand and on order by item id.
        policy: Thresholds.

    Returns:
        Columns ``item_id``, ``stock``, ``warning`` (None where there is none), ``stock_out_probability``,
        ``expected_demand`` (units over the lead time), ``order_up_to``, ``order_units`` and ``cover_days``.

    Raises:
        DataError: An item has no stock level, or a negative one.
    """
    policy = policy or StockPolicy()
    units = stock.reindex(forecast.item_id).to_numpy(dtype=np.float64)
    bad = ~(units >= 0)
    if bad.any():
        examples = list(forecast.item_id[bad][:3])
        message = f"items.stock: {int(bad.sum())} items have no stock level of at least 0, such as {examples}"
        raise DataError(
            message, table="items", column=schema.STOCK, rule="at least 0", count=int(bad.sum()), examples=examples
        )
    risk, expected = forecast.exceeds(units), forecast.mean
    target = np.ceil(forecast.quantiles(policy.service)[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        cover = np.where(units > 0, units / expected, 0.0) * forecast.lead_days
    ageing = (cover > policy.ageing_days) & (units > 0)
    warning = np.full(len(units), None, dtype=object)
    warning[risk > policy.risk + ROUNDING] = StockWarning.STOCK_OUT.value
    warning[ageing] = StockWarning.AGEING.value
    report = pd.DataFrame(
        {
            schema.ITEM_ID: forecast.item_id,
            schema.STOCK: units,
            WARNING: warning,
            PROBABILITY: risk,
            EXPECTED: expected,
            ORDER_UP_TO: target,
            ORDER: np.maximum(target - units, 0.0),
            COVER_DAYS: cover,
        }
    )
    return report.sort_values([PROBABILITY, schema.ITEM_ID], ascending=[False, True]).reset_index(drop=True)
