"""Real grocery receipts (Complete Journey): is held-out demand calibrated, and which groups pay more?

Everything is observational: pages derived from receipts (see the reader), prices set by the shop, an assumed margin.
Fairness is audited twice: on the prices that households paid, and on those that the learned policy would have asked in
the held-out weeks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.result import Result, Row
from benchmarks.studies.synthetic import text_components
from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.base.normal import Z95
from fairtag.base.tables import Tables
from fairtag.data.complete_journey import read, read_sold
from fairtag.data.point_in_time import training_set
from fairtag.demand.calibration import Calibration, Estimate, calibrate
from fairtag.demand.control_function import FirstStage
from fairtag.demand.demand_data import Assortment, DemandData, demand_data
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.fit import fit_demand
from fairtag.fairness.audit import AuditReport, audit
from fairtag.policy.guardrails import GuardrailLimits, price_bounds, to_minor
from fairtag.solver.page_solver import solve_pages

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

TUNE_FROM, HOLD_OUT_FROM = 37, 43  # weeks; the data end with week 53
PERIOD_WEEKS = 4  # of paid prices: an item sells too rarely in one week to compare households
SEED = 0
NOTES = (
    "A page holds the items of one product type on sale in one store and week; its query is the type's words, and a "
    "trip that bought none of them chose the outside option. The data are a 7 % sample of receipt lines.",
    "Which items were on sale is read from other customers' receipts of the store, their prices from other receipts of "
    "the chain and week. Rows sold_pages_*: pages of what sold in the store and week instead. They show an item "
    "because it sold, nearly always once, whatever it cost, so their slope stays at its floor of 0.2.",
    "Observational: customers responded to loyalty-card prices and to the displays and mailings that came with them. "
    "Trips whose purchase no other receipt shows are left out. Of trips without a purchase the same share is kept as "
    "was sampled of lines, so that probabilities are of purchases per trip.",
    "Costs are not recorded and cannot serve as an instrument: the control function is off. Prices are means over the "
    "chain; stores with other prices in that week blur them, which pulls the slope towards 0.",
    "Calibration intervals: 95 %, clustered by household. log_loss_items_no_price: the same model, one price for all.",
    "gap_paid: mean log difference between the prices that a group paid and those of all other households, same item, "
    "same four weeks; it mixes coupons, stores and the choice of week. gap_policy: the same for the learned policy's "
    "prices of the held-out pages, same item, shelf price and week (0 where the policy keeps list).",
    "Intervals of gaps: 90 %, clustered by household; the last column is the audit's status.",
    "A third of the households stated their age, income and household size; the others are in no group.",
)


def run(data: Path) -> Result:
    """Run the study on the receipts under ``data``.

    Raises:
        MissingDataError: ``data`` holds no receipts.
    """
    tables, others = read_sold(data), read(data, seed=SEED)
    shop = prepare(others)
    model = fit_demand(shop.train)
    found = calibrate(model, shop.held_out, shop.train)
    rows = [
        *calibration_rows(found),
        Row("log_loss_items_no_price", without_price(shop).log_loss, unit="nats a page"),
        *(replace(row, metric=f"weeks_37_42_{row.metric}") for row in slopes(calibrate(model, shop.tune, shop.train))),
        *response_rows("", model),
        *sold_page_rows(tables),
    ]
    groups = audit_groups(tables)
    paid, asked = paid_prices(tables), policy_prices(model, shop, tables)
    below = float((asked[schema.PRICE_MINOR] < asked[schema.LIST_PRICE_MINOR]).mean())
    rows.append(Row("policy_share_below_list", below))
    rows += gap_rows("gap_paid", audit(paid, groups, seed=SEED))
    rows += gap_rows("gap_policy", audit(asked, groups, seed=SEED))
    return Result(tuple(rows), NOTES)


@dataclass(frozen=True)
class Shop:
    """Impressions of the three spans of weeks.

    Args:
        train: Weeks before ``TUNE_FROM``.
        tune: Weeks from there to ``HOLD_OUT_FROM``; nothing is tuned, so they are a second hold-out.
        held_out: The weeks after.
        rows: Training-set rows of the held-out pages.
        week: Week of each of them.
    """

    train: DemandData
    tune: DemandData
    held_out: DemandData
    rows: pd.DataFrame
    week: Ints


def prepare(tables: Tables) -> Shop:
    """Join the features as of each page, and split by week."""
    rows = training_set(tables)
    catalogue = tables.latest_items()
    assortment = Assortment.of(catalogue, text_components(catalogue))
    week = weeks_of(rows[schema.TS], tables)
    held_out = week >= HOLD_OUT_FROM
    return Shop(
        train=_demand(rows[week < TUNE_FROM], assortment),
        tune=_demand(rows[(week >= TUNE_FROM) & ~held_out], assortment),
        held_out=_demand(rows[held_out], assortment),
        rows=rows[held_out].reset_index(drop=True),
        week=week[held_out],
    )


def _demand(rows: pd.DataFrame, assortment: Assortment) -> DemandData:
    """Every item of a page has the wanted type, so its similarity is 1; the control function is off."""
    data = demand_data(rows, assortment, similarity=np.ones(len(rows)))
    return replace(data, first_stage=FirstStage.none(data.n_rows))


def weeks_of(ts: pd.Series[pd.Timestamp], tables: Tables) -> Ints:
    """Week of each time, from 1; weeks begin with the item snapshots."""
    starts = np.unique(_micros(tables.items[schema.UPDATED_AT]))
    return np.asarray(np.searchsorted(starts, _micros(ts), side="right"), dtype=np.int64)


def _micros(times: pd.Series[pd.Timestamp]) -> Ints:
    return np.asarray(times.astype("datetime64[us, UTC]").astype("int64"), dtype=np.int64)


def without_price(shop: Shop) -> Calibration:
    """The same model with every price at its reference: what items and customers alone predict."""
    train, held_out = (replace(part, y=np.ones(part.n_rows)) for part in (shop.train, shop.held_out))
    return calibrate(fit_demand(train), held_out, train)


def response_rows(prefix: str, model: DemandModel) -> list[Row]:
    """The mean slope with its 95 % interval: about minus the elasticity of an item that few buy."""
    beta = model.coefficients()["beta"]
    reach = Z95 * beta["standard_error"]
    floor = "at its floor" if model.report["mean_slope_at_floor"] else None
    mean, spread = beta["value"], model.report["tau"]["slope"]
    rows = [Row(f"{prefix}mean_slope", mean, mean - reach, mean + reach, reference=floor)]
    return [*rows, Row(f"{prefix}spread_of_item_slopes", spread)]


def sold_page_rows(tables: Tables) -> list[Row]:
    """The same weeks on pages of what sold, which shows why such pages are not used."""
    sold = prepare(tables)
    model = fit_demand(sold.train)
    found = slopes(calibrate(model, sold.held_out, sold.train))
    return [
        *(replace(row, metric=f"sold_pages_{row.metric}") for row in found),
        response_rows("sold_pages_", model)[0],
    ]


def slopes(found: Calibration) -> list[Row]:
    """Calibration slope of utility, and of its response to price."""
    return [_estimate("calibration_slope", found.slope, 1.0), _estimate("price_slope", found.price_slope, 1.0)]


def calibration_rows(found: Calibration) -> list[Row]:
    """Calibration on the held-out weeks, and the log loss beside models without prices."""
    return [
        *slopes(found),
        _estimate("calibration_intercept", found.intercept, 0.0),
        Row("expected_over_observed_purchases", found.expected / found.purchases, reference=1.0),
        Row("log_loss", found.log_loss, unit="nats a page", reference=found.baselines["no price"]),
        Row("log_loss_no_price", found.baselines["no price"], unit="nats a page"),
        Row("log_loss_constant", found.baselines["constant"], unit="nats a page"),
        Row("held_out_pages", float(found.pages)),
        Row("held_out_purchases", float(found.purchases)),
    ]


def _estimate(name: str, found: Estimate, calibrated: float) -> Row:
    return Row(name, found.value, found.low, found.high, reference=calibrated)


def audit_groups(tables: Tables) -> pd.DataFrame:
    """The audit groups, keyed like the price tables; nothing else in the study reads them.

    Raises:
        MissingDataError: The receipts have no demographics.
    """
    if tables.audit_groups is None:
        raise MissingDataError(
            "complete_journey: no demographics, so there are no groups to audit; demographics.parquet holds them"
        )
    return tables.audit_groups.rename(columns={schema.USER_ID: schema.USER_KEY})


def paid_prices(tables: Tables) -> pd.DataFrame:
    """Prices that households paid, with the item's shelf price of that week, as the audit reads prices."""
    listed = tables.items[[schema.ITEM_ID, schema.UPDATED_AT, schema.LIST_PRICE, schema.CATEGORY]]
    rows = pd.merge_asof(
        tables.orders.sort_values(schema.TS, kind="stable"),
        listed.sort_values(schema.UPDATED_AT, kind="stable"),
        left_on=schema.TS,
        right_on=schema.UPDATED_AT,
        by=schema.ITEM_ID,
    ).dropna(subset=[schema.LIST_PRICE])
    period = (weeks_of(rows[schema.TS], tables) - 1) // PERIOD_WEEKS
    return _prices(rows, rows[schema.PRICE].to_numpy(float), period)


def policy_prices(model: DemandModel, shop: Shop, tables: Tables) -> pd.DataFrame:
    """The learned policy's prices of audited households' held-out pages, under the default guardrails."""
    known = shop.rows[schema.USER_ID].isin(audit_groups(tables)[schema.USER_KEY]).to_numpy()
    rows, week = shop.rows[known].reset_index(drop=True), shop.week[known]
    limits = GuardrailLimits()
    listed = rows[schema.LIST_PRICE].to_numpy(float)
    cost = rows[schema.UNIT_COST].to_numpy(float)
    bounds = price_bounds(limits, list_price=listed, unit_cost=cost, corridor_low=listed / limits.corridor_ratio)
    row_of = pd.Index(tables.latest_items()[schema.ITEM_ID])
    items = row_of.get_indexer(pd.Index(rows[schema.ITEM_ID]))
    behaviour = rows[list(schema.USER_PRICING_FEATURES)].to_numpy(float)
    a, b = model.utilities(np.asarray(items, dtype=np.int64), np.ones(len(rows)), behaviour, np.zeros(len(rows)))
    y = np.ones(len(rows))
    for page in _by_size(rows[schema.PAGE_ID]):
        r = listed[page]
        solved = solve_pages(
            a[page], b[page], cost[page] / r, 1.0, bounds.lo[page] / r, bounds.hi[page] / r, margin_weight=r
        )
        y[page] = np.where(solved.priced, solved.y, 1.0)
    asked = _prices(rows, np.where(bounds.feasible, y * listed, bounds.fallback), week)
    shelf = asked[schema.LIST_PRICE_MINOR].astype(str)  # stores differ: compare households at one shelf price
    return asked.assign(**{schema.ITEM_ID: asked[schema.ITEM_ID] + "@" + shelf})


def _by_size(page_ids: pd.Series[str]) -> Iterator[Ints]:
    """For every page size, the rows of its pages, shape (pages, size)."""
    codes = pd.factorize(page_ids)[0]
    order = np.argsort(codes, kind="stable")
    size = np.bincount(codes)
    first = np.cumsum(size) - size
    for n in np.unique(size):
        yield order[first[size == n][:, None] + np.arange(n)]


def _prices(rows: pd.DataFrame, price: NDArray[np.float64], epoch: Ints) -> pd.DataFrame:
    return pd.DataFrame(
        {
            schema.USER_KEY: rows[schema.USER_ID].to_numpy(object),
            schema.ITEM_ID: rows[schema.ITEM_ID].to_numpy(object),
            schema.EPOCH: epoch,
            schema.PRICE_MINOR: np.maximum(to_minor(price), 1),
            schema.LIST_PRICE_MINOR: np.maximum(to_minor(rows[schema.LIST_PRICE].to_numpy(float)), 1),
        }
    )


def gap_rows(name: str, report: AuditReport) -> list[Row]:
    """One row for each group: its gap with interval, and the status of the audit."""
    return [
        Row(f"{name}_{f.attribute}_{f.group}", f.gap, f.low, f.high, unit="log price", reference=f.status.name)
        for f in report.findings
        if np.isfinite(f.gap)
    ]
