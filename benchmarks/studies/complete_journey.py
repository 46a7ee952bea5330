"""Study: real grocery receipts. Is held-out demand calibrated, and who paid and would pay how much?

Knows the Complete Journey receipts, the demand model, the page solver and the fairness audit. Everything is
observational: derived pages (see the reader), prices set by the shop, a stated margin. Two fairness tables: the prices
that households really paid, and the prices that the learned policy would have asked on the held-out weeks.
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
from fairtag.base.tables import Tables
from fairtag.data.complete_journey import read, read_sold
from fairtag.data.point_in_time import training_set
from fairtag.demand.calibration import Z95, Calibration, Estimate, calibrate
from fairtag.demand.control_function import FirstStage
from fairtag.demand.demand_data import Assortment, DemandData, demand_data
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.fit import fit_demand
from fairtag.fairness.audit import AuditReport, audit
from fairtag.policy.guardrails import GuardrailLimits, price_bounds, to_minor
from fairtag.solver.page_solver import solve_pages

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

TUNE_FROM, HOLD_OUT_FROM = 37, 43  # weeks of the data set; the last is 53
PERIOD_WEEKS = 4  # of the table of paid prices: one item sells too rarely in a week to compare households in it
SEED = 0
NOTES = (
    "Derived pages: a page is the items of one product type on sale in one store and week, its query the type's words, "
    "and a trip that bought none of them is the outside option. The data are a 7 % sample of receipt lines.",
    "What is on sale, and at which price, is read from other receipts than the customer's own: of the store for the "
    "item, of the chain and week for the price. A page of what sold in the store and week (rows sold_pages_*) shows an "
    "item because it sold, nearly always once, whatever it cost: there the slope rests on its floor of 0.2.",
    "Observational: the response is to loyalty-card prices with all that went with them, displays and mailings too. A "
    "trip whose purchase no other receipt shows is left out; of trips without a purchase as large a share is kept as "
    "of lines was sampled, so that probabilities are of purchases per trip.",
    "Costs are not recorded, so none is an instrument here: the control function is switched off. Prices are means of "
    "other receipts of the chain; stores that priced otherwise in that week blur them, which draws the slope to 0.",
    "Calibration intervals 95 %, clustered by household. log_loss_items_no_price: the same model, one price for all.",
    "gap_paid: mean log difference of the price paid by a group against all other households, same item, same four "
    "weeks; it mixes coupons, stores and the choice of week. gap_policy: the same of the learned policy's prices for "
    "the held-out pages, same item at the same shelf price in the same week (0 where the policy keeps list).",
    "Intervals of gaps 90 %, clustered by household; their reference column is the audit's status.",
    "A third of the households told their age, income and household size; the others are in no group.",
)


def run(data: Path | None) -> Result:
    """Run the study on the receipts under ``data``.

    Raises:
        MissingDataError: No folder was given, or it holds no receipts.
    """
    if data is None:
        raise MissingDataError(
            "the study complete-journey reads the folder complete_journey; name its parent with --data"
        )
    tables, unseen = read_sold(data), read(data, seed=SEED)
    shop = prepare(unseen)
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
    return Result("complete-journey", "fairtag study complete-journey --data DIR", tuple(rows), NOTES)


@dataclass(frozen=True)
class Shop:
    """Impressions of the three spans of weeks.

    Args:
        train: Weeks before ``TUNE_FROM``.
        tune: Weeks from there to ``HOLD_OUT_FROM``; nothing is left to tune, so that they are a second hold-out.
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
    """Join the features as of each page, and cut by week."""
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
    """Every item of a page is of the wanted type, so similarity is 1 for all; the control function is switched off."""
    data = demand_data(rows, assortment, similarity=np.ones(len(rows)))
    return replace(data, first_stage=FirstStage(np.zeros(data.n_rows), 0.0, ()))


def weeks_of(ts: pd.Series[pd.Timestamp], tables: Tables) -> Ints:
    """Week of each instant, 1 the first: weeks begin where the item snapshots do."""
    starts = np.unique(_micros(tables.items[schema.UPDATED_AT]))
    return np.asarray(np.searchsorted(starts, _micros(ts), side="right"), dtype=np.int64)


def _micros(times: pd.Series[pd.Timestamp]) -> Ints:
    return np.asarray(times.astype("datetime64[us, UTC]").astype("int64"), dtype=np.int64)


def without_price(shop: Shop) -> Calibration:
    """The same model with every price at its reference: what items and customers alone foretell."""
    train, held_out = (replace(part, y=np.ones(part.n_rows)) for part in (shop.train, shop.held_out))
    return calibrate(fit_demand(train), held_out, train)


def response_rows(prefix: str, model: DemandModel) -> list[Row]:
    """The mean slope, about minus the elasticity of an item that few buy, with its 95 % interval."""
    beta = model.coefficients()["beta"]
    reach = Z95 * beta["standard_error"]
    floor = "at its floor" if model.report["slope_at_floor"] else None
    mean, spread = beta["value"], model.report["tau"]["slope"]
    rows = [Row(f"{prefix}mean_slope", mean, mean - reach, mean + reach, reference=floor)]
    return [*rows, Row(f"{prefix}spread_of_item_slopes", spread)]


def sold_page_rows(tables: Tables) -> list[Row]:
    """What pages of that which sold say of the same weeks: why they are not used."""
    sold = prepare(tables)
    model = fit_demand(sold.train)
    found = slopes(calibrate(model, sold.held_out, sold.train))
    return [
        *(replace(row, metric=f"sold_pages_{row.metric}") for row in found),
        response_rows("sold_pages_", model)[0],
    ]


def slopes(found: Calibration) -> list[Row]:
    """The recalibration of all utility, and of its response to price."""
    return [_estimate("calibration_slope", found.slope, 1.0), _estimate("price_slope", found.price_slope, 1.0)]


def calibration_rows(found: Calibration) -> list[Row]:
    """The recalibration on the held-out weeks, and the loss against models without prices."""
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
    """The audit groups, keyed as the price tables here are; nothing else of the study reads them.

    Raises:
        MissingDataError: The receipts have no demographics.
    """
    if tables.audit_groups is None:
        raise MissingDataError("complete_journey: no demographics, so there is nothing to audit")
    return tables.audit_groups.rename(columns={schema.USER_ID: schema.USER_KEY})


def paid_prices(tables: Tables) -> pd.DataFrame:
    """What households paid a unit, with the item's shelf price of that week, as the audit reads prices."""
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
    """The learned policy's prices of the held-out pages of households in the audit, under the usual guardrails."""
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
    """Rows of all pages of one size, shape (pages, size), for every size."""
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
    """One row a group: its gap with interval, and the status."""
    return [
        Row(f"{name}_{f.attribute}_{f.group}", f.gap, f.low, f.high, unit="log price", reference=f.status.name)
        for f in report.findings
        if np.isfinite(f.gap)
    ]
