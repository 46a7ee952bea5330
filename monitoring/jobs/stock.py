"""The stock job: which items are about to run out, and which do not sell.

:mod:`fairtag.stock.replenishment` decides when one item needs a warning; this job decides for the shop.
"""

from __future__ import annotations

import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.tables import read_tables
from fairtag.base.types import Status
from fairtag.stock.forecast import ForecastConfig, forecast_demand
from fairtag.stock.replenishment import (
    COVER_DAYS,
    EXPECTED,
    ORDER,
    PROBABILITY,
    WARNING,
    StockPolicy,
    StockWarning,
    stock_report,
)
from monitoring.inputs import Inputs
from monitoring.job_report import Check, JobReport

JOB = "stock"
LIKELY = 0.5  # probability from which an item is likely to run out
URGENT_SHARE = 0.10  # share of expected demand, on items likely to run out, above which the check is urgent
AGEING_SHARE = 0.25  # share of the stock's value in ageing items above which the check warns
EXAMPLES = 5


def run(inputs: Inputs) -> JobReport:
    """Compare the stock of every item with its demand forecast over the lead time."""
    tables = read_tables(inputs.need("tables", JOB))
    items, window = tables.latest_items().set_index(schema.ITEM_ID), inputs.window
    counted = min(
        pd.Timestamp(window.end), items[schema.UPDATED_AT].max()
    )  # later sales are not yet in the stock levels
    config, policy = ForecastConfig(), StockPolicy()
    checks: tuple[Check, ...] = (_stock_age(counted, inputs), _stock_levels(items[schema.STOCK]))
    known = items[items[schema.STOCK] >= 0]
    try:
        forecast = forecast_demand(tables.orders, known.index.to_numpy(dtype=object), counted, config)
        report = stock_report(forecast, known[schema.STOCK], policy)
    except DataError as error:
        checks += (Check("stock_data", Status.UNKNOWN, str(error), n=len(tables.orders)),)
    else:
        frame = report.join(known[[schema.TITLE, schema.UNIT_COST]], on=schema.ITEM_ID)
        checks += (_stock_out(frame, config.lead_days), _ageing(frame, policy))
    detail = {"items": len(items), "lead_days": config.lead_days, "counted": counted.isoformat()}
    return JobReport(JOB, window.start.isoformat(), window.end.isoformat(), checks, detail=detail)


def _stock_age(counted: pd.Timestamp, inputs: Inputs) -> Check:
    """Whether the stock levels are recent enough; if not, nothing can be told."""
    hours = (pd.Timestamp(inputs.window.end) - counted).total_seconds() / 3600
    allowed = inputs.settings.stale_stock_hours
    status = Status.PASS if hours <= allowed else Status.UNKNOWN
    summary = f"stock was counted on {counted:%Y-%m-%d %H:%M}, {hours:,.0f} h before the end of the window"
    return Check("stock_age", status, summary, value=hours, reference=0.0, change=hours, warn_at=allowed, unit="hours")


def _stock_levels(stock: pd.Series[float]) -> Check:
    missing = int((~(stock >= 0)).sum())
    status = Status.PASS if not missing else Status.WARN if missing < len(stock) else Status.UNKNOWN
    summary = f"{missing:,} of {len(stock):,} items have no stock level" if missing else f"{len(stock):,} items"
    return Check("stock_levels", status, summary, n=len(stock), unit="items")


def _stock_out(frame: pd.DataFrame, lead_days: int) -> Check:
    at_risk = frame[frame[WARNING] == StockWarning.STOCK_OUT.value]
    demand = frame[EXPECTED]
    likely = float(demand[frame[PROBABILITY] > LIKELY].sum() / max(demand.sum(), 1e-9))
    status = Status.URGENT if likely > URGENT_SHARE else Status.WARN if len(at_risk) else Status.PASS
    summary = (
        f"{len(at_risk):,} of {len(frame):,} items may run out within {lead_days} days; "
        f"{100 * likely:.1f} % of expected demand is on items that probably will"
    )
    examples = tuple(
        f"{row[schema.ITEM_ID]} {row[schema.TITLE]}: {row[schema.STOCK]:.0f} in stock, {row[EXPECTED]:.0f} expected, "
        f"probability {100 * row[PROBABILITY]:.0f} %, order {row[ORDER]:.0f}"
        for _, row in at_risk.head(EXAMPLES).iterrows()
    )
    return Check(
        "stock_out",
        status,
        summary,
        value=likely,
        reference=0.0,
        change=likely,
        warn_at=0.0,
        urgent_at=URGENT_SHARE,
        unit="share",
        n=len(frame),
        examples=examples,
        detail={"items": len(at_risk)},
    )


def _ageing(frame: pd.DataFrame, policy: StockPolicy) -> Check:
    frame = frame.assign(value=frame[schema.STOCK] * frame[schema.UNIT_COST])
    old = frame[frame[WARNING] == StockWarning.AGEING.value]
    share = float(old["value"].sum() / max(frame["value"].sum(), 1e-9))
    status = Status.WARN if share > AGEING_SHARE else Status.PASS
    examples = tuple(
        f"{row[schema.ITEM_ID]} {row[schema.TITLE]}: lasts {row[COVER_DAYS]:.0f} days"
        for _, row in old.sort_values("value", ascending=False).head(EXAMPLES).iterrows()
    )
    return Check(
        "stock_ageing",
        status,
        f"{len(old):,} items last more than {policy.ageing_days:.0f} days, {100 * share:.0f} % of the stock's value",
        value=share,
        reference=0.0,
        change=share,
        warn_at=AGEING_SHARE,
        unit="share",
        n=len(frame),
        examples=examples,
    )
