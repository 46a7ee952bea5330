"""The stock job: which items are about to run out, and which lie too long. Reads orders and stock, and no quote."""

from __future__ import annotations

import numpy as np
import pandas as pd

from monitoring.inputs import Inputs
from monitoring.verdict import Check, Verdict
from pricing import schema
from pricing.errors import DataError
from pricing.stock.forecast import ForecastConfig, forecast_demand
from pricing.tables import read_tables
from pricing.verdict import Verdict as Status

JOB = "stock"
ALARM = 0.05  # chance of running out within the lead time that warns (PRICING.md section 8)
LIKELY = 0.5  # chance at which running out is to be expected
PAGE_SHARE = 0.10  # share of expected demand that may be likely to run out before someone is woken
AGEING_DAYS = 180.0  # days of cover beyond which money lies in the shelf
AGEING_SHARE = 0.25  # share of the stock's value that may age before it is worth a warning
EXAMPLES = 5


def run(inputs: Inputs) -> Verdict:
    """Hold the stock of every item against the demand forecast over the lead time."""
    tables = read_tables(inputs.need("tables", JOB))
    items, now = tables.latest_items(), pd.Timestamp(inputs.window.end)
    config = ForecastConfig()
    try:
        forecast = forecast_demand(tables.orders, items[schema.ITEM_ID].to_numpy(dtype=object), now, config)
    except DataError as error:
        checks: tuple[Check, ...] = (Check("stock_data", Status.COULD_NOT_TELL, str(error), n=len(tables.orders)),)
    else:
        stock = items[schema.STOCK].to_numpy(dtype=np.float64)
        known = np.isfinite(stock)
        frame = pd.DataFrame(
            {
                schema.ITEM_ID: items[schema.ITEM_ID],
                schema.TITLE: items[schema.TITLE],
                schema.STOCK: stock,
                "expected": np.asarray(forecast.mean, dtype=np.float64),
                "risk": np.asarray(forecast.exceeds(np.where(known, stock, np.inf)), dtype=np.float64),
                "value": stock * items[schema.UNIT_COST].to_numpy(dtype=np.float64),
            }
        )
        checks = (_known(known), *_answers(frame[known], config.lead_days))
    start, end = inputs.window.start.isoformat(), inputs.window.end.isoformat()
    return Verdict(JOB, start, end, checks, detail={"items": len(items), "lead_days": config.lead_days})


def _known(known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Check:
    missing = int((~known).sum())
    status = Status.PASS if not missing else Status.WARN if known.any() else Status.COULD_NOT_TELL
    said = f"{missing:,} of {len(known):,} items have no stock level" if missing else f"{len(known):,} items"
    return Check("stock_data", status, said, n=len(known), unit="items")


def _answers(frame: pd.DataFrame, lead_days: int) -> tuple[Check, Check]:
    return _stock_out(frame, lead_days), _ageing(frame, lead_days)


def _stock_out(frame: pd.DataFrame, lead_days: int) -> Check:
    at_risk = frame[(frame["risk"] > ALARM) & (frame["expected"] > 0)].sort_values("risk", ascending=False)
    likely = float(frame.loc[frame["risk"] > LIKELY, "expected"].sum() / max(frame["expected"].sum(), 1e-9))
    status = Status.PAGE if likely > PAGE_SHARE else Status.WARN if len(at_risk) else Status.PASS
    summary = (
        f"{len(at_risk):,} of {len(frame):,} items may run out within {lead_days} days; "
        f"{100 * likely:.1f} % of expected demand is likely to"
    )
    examples = tuple(
        f"{row[schema.ITEM_ID]} {row[schema.TITLE]}: {row[schema.STOCK]:.0f} in stock, "
        f"{row['expected']:.0f} expected, chance {100 * row['risk']:.0f} %"
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
        page_at=PAGE_SHARE,
        unit="share",
        n=len(frame),
        examples=examples,
        detail={"items": len(at_risk)},
    )


def _ageing(frame: pd.DataFrame, lead_days: int) -> Check:
    daily = frame["expected"] / lead_days
    cover = frame[schema.STOCK] / daily.clip(lower=1e-9)
    old = frame[(cover > AGEING_DAYS) & (frame[schema.STOCK] > 0)].sort_values("value", ascending=False)
    share = float(old["value"].sum() / max(frame["value"].sum(), 1e-9))
    status = Status.WARN if share > AGEING_SHARE else Status.PASS
    return Check(
        "stock_ageing",
        status,
        f"{len(old):,} items have more than {AGEING_DAYS:.0f} days of cover, {100 * share:.0f} % of the stock's value",
        value=share,
        reference=0.0,
        change=share,
        warn_at=AGEING_SHARE,
        unit="share",
        n=len(frame),
        examples=tuple(f"{row[schema.ITEM_ID]} {row[schema.TITLE]}" for _, row in old.head(EXAMPLES).iterrows()),
    )
