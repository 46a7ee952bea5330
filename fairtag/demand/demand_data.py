"""The arrays of a demand fit, built from a training set: filtered, counted, sorted by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.demand.choices import Flags, Floats, Ints
from fairtag.demand.control_function import WEAK, FirstStage, PriceVariation, first_stages, item_periods
from fairtag.demand.counts import Weights, count_purchases
from fairtag.demand.covariates import CovariateScaling, logged_values, number_column

FOLDS = 5  # of the cross-fitted first stage and of the elasticity cross-check
RATIO_RANGE = (0.1, 10.0)  # price over reference price; beyond, one of the two is a typing or unit error
PERIOD_DAYS = 7  # a shop that changes prices does so by the week
INSTRUMENTS = (schema.UNIT_COST, schema.COMPETITOR_PRICE)  # they affect the utility only through the price


@dataclass(frozen=True)
class Assortment:
    """The catalogue as the demand model reads it; row i is row i of ``Tables.latest_items()``.

    Args:
        item_ids: (I,) ids.
        categories: Names, sorted.
        category: (I,) row of ``categories``.
        embeddings: (I, d) text embeddings; with None, elasticities borrow strength from the category alone.
        nest: (I,) nest of each item, the row of its first item; its own where it has no near-identical twin.
    """

    item_ids: np.ndarray
    categories: tuple[str, ...]
    category: Ints
    embeddings: Floats | None
    nest: Ints

    @classmethod
    def of(cls, catalogue: pd.DataFrame, embeddings: np.ndarray | None = None, nest: Ints | None = None) -> Assortment:
        """Read the catalogue's ids and categories.

        Args:
            catalogue: The items.
            embeddings: (I, d) text embeddings.
            nest: (I,) as :func:`fairtag.demand.nests.near_identical` finds them; every item is alone when None.

        Raises:
            DataError: The embeddings are not finite, or not one row an item.
        """
        if embeddings is not None and (len(embeddings) != len(catalogue) or not np.isfinite(embeddings).all()):
            raise DataError(
                f"embeddings: shape {np.shape(embeddings)}, {int((~np.isfinite(embeddings)).sum())} values not finite; "
                f"needs {len(catalogue)} finite rows, one an item of the catalogue",
                rule="finite, one row an item",
            )
        codes, names = pd.factorize(catalogue[schema.CATEGORY].astype(str), sort=True)
        vectors = None if embeddings is None else np.asarray(embeddings, dtype=np.float64)
        ids = catalogue[schema.ITEM_ID].to_numpy(dtype=object)
        alone = np.arange(len(catalogue), dtype=np.int64)
        return cls(ids, tuple(map(str, names)), codes.astype(np.int64), vectors, alone if nest is None else nest)


@dataclass(frozen=True)
class DemandData:
    """Impressions that may enter a demand fit, sorted by page.

    Args:
        assortment: The catalogue.
        item: (N,) catalogue row.
        y: (N,) price over reference price, above 0.
        similarity: (N,) similarity of the item to the intent.
        behaviour: (P, k) raw allow-listed behaviour of the page's customer, NaN where unknown.
        bought: (N,) how often the item was bought: 1 or 0, where purchases are of one unit and pages of one weight.
        outside: (P,) how often nothing on the page was bought.
        starts: (P,) first row of each page.
        fold: (P,) cross-fitting fold of the page, a hash of its id.
        customer: (P,) code of the page's customer; a page without a customer gets a code of its own.
        first_stage: The control function; its ``nu`` is aligned with the rows.
        price_unit: (N,) item and period of each row, by number: prices that were set together. Every row is one of its
            own where times are unknown.
        unit_cost: (N,) unit cost over reference price, NaN where unknown.
        covariates: (N, V) logged values of what else shifts demand, NaN where unknown.
        covariate_names: Columns of the impressions that they are.
        left_out: Number of impressions left out of the fit, by rule.
        weight: (P,) what each page counts (:mod:`fairtag.demand.counts`); 1 on a log without weights.
        units: (C,) mean units of a purchase in each category.
        counts: What was counted, as JSON.
    """

    assortment: Assortment
    item: Ints
    y: Floats
    similarity: Floats
    behaviour: Floats
    bought: Floats
    outside: Floats
    starts: Ints
    fold: Ints
    customer: Ints
    first_stage: FirstStage
    price_unit: Ints
    unit_cost: Floats
    covariates: Floats
    covariate_names: tuple[str, ...]
    left_out: dict[str, int]
    weight: Floats
    units: Floats
    counts: dict[str, Any]

    @property
    def n_rows(self) -> int:
        """Number of impressions."""
        return int(self.item.size)

    @property
    def page(self) -> Ints:
        """(N,) page of each row."""
        return np.repeat(np.arange(self.starts.size), np.diff(self.starts, append=self.item.size))

    @property
    def row_weight(self) -> Floats:
        """(N,) what each row's page counts."""
        return self.weight[self.page]

    def pages(self, keep: Flags) -> DemandData:
        """The pages where ``keep`` (P,) is true; the first stage stays as it was fitted."""
        rows = keep[self.page]
        sizes = np.diff(self.starts, append=self.item.size)[keep]
        return DemandData(
            assortment=self.assortment,
            item=self.item[rows],
            y=self.y[rows],
            similarity=self.similarity[rows],
            behaviour=self.behaviour[keep],
            bought=self.bought[rows],
            outside=self.outside[keep],
            starts=_starts(sizes),
            fold=self.fold[keep],
            customer=self.customer[keep],
            first_stage=self.first_stage.rows(rows),
            price_unit=self.price_unit[rows],
            unit_cost=self.unit_cost[rows],
            covariates=self.covariates[rows],
            covariate_names=self.covariate_names,
            left_out=self.left_out,
            weight=self.weight[keep],
            units=self.units,
            counts=self.counts,
        )


def demand_data(
    training: pd.DataFrame,
    assortment: Assortment,
    *,
    similarity: np.ndarray,
    reference: np.ndarray | None = None,
    least_f: float = WEAK,
    period_days: float = PERIOD_DAYS,
    covariates: tuple[str, ...] = (),
    weights: Weights = "sampling",
) -> DemandData:
    """Turn a training set into the arrays of a demand fit.

    Left out, and counted by rule: impressions out of stock, with a price that is not positive and plausible, of an item
    outside the catalogue, without a similarity, or with a weight of 0. A page on which something was bought has no
    outside choice, even when the bought row itself is left out.

    Args:
        training: Columns of IMPRESSIONS, the allow-listed behaviour and, where known, unit cost and competitor price.
        assortment: The catalogue.
        similarity: (rows of ``training``,) similarity of each item to the intent of its page.
        reference: (rows of ``training``,) reference price in money; the row's list price when None.
        least_f: First-stage F statistic below which a category has no control function.
        period_days: Days in which an item's prices count as set together.
        covariates: Columns of ``training`` that shift demand beside the price.
        weights: What a weight of the pages means, where ``training`` has any.

    Raises:
        DataError: No impression is left, or a weight is negative or not the same on all rows of a page.
    """
    price = number_column(training, schema.PRICE)
    r = number_column(training, schema.LIST_PRICE) if reference is None else np.asarray(reference, dtype=np.float64)
    item = pd.Index(assortment.item_ids).get_indexer(pd.Index(training[schema.ITEM_ID].to_numpy(dtype=object)))
    similarity = np.asarray(similarity, dtype=np.float64)
    weight = _weights(training)
    kept, left_out = _filter(_rules(training, price, r, item, similarity, weight))
    if not kept.any():
        raise DataError(
            f"demand: all {kept.size} impressions were left out of the fit, by rule: {left_out}", rule="not empty"
        )
    codes, page_ids = pd.factorize(training[schema.PAGE_ID].to_numpy(dtype=object))
    rows = np.flatnonzero(kept)[np.argsort(codes[kept], kind="stable")]
    present, sizes = np.unique(codes[rows], return_counts=True)
    bought = _flags(training[schema.PURCHASED], default=False).astype(np.float64)
    any_bought = np.bincount(codes, weights=bought, minlength=len(page_ids))[present] > 0
    starts, page_of_row = _starts(sizes), np.repeat(np.arange(present.size), sizes)
    fold = (pd.util.hash_array(np.asarray(page_ids, dtype=object)[present]) % FOLDS).astype(np.int64)
    behaviour = np.column_stack([number_column(training, name)[rows[starts]] for name in schema.USER_PRICING_FEATURES])
    item = item[rows].astype(np.int64)
    y, s = price[rows] / r[rows], similarity[rows]
    instruments = {name: _plausible(number_column(training, name)[rows] / r[rows]) for name in INSTRUMENTS}
    logged = logged_values(training, covariates)[rows]
    category, period = assortment.category[item], _periods(training, rows, period_days)
    counts = count_purchases(
        bought[rows],
        number_column(training, schema.QUANTITY)[rows],
        category,
        starts,
        (~any_bought).astype(np.float64),
        weight[rows[starts]],
        categories=len(assortment.categories),
        kind=weights,
    )
    counted = counts.weight[page_of_row]
    shifts = CovariateScaling.of(covariates, logged, counted).standardised(logged)
    controls = np.column_stack([s, np.nan_to_num(_standardised(behaviour))[page_of_row], shifts])
    prices = PriceVariation(y, instruments, controls, item, category, period, fold[page_of_row], counted)
    return DemandData(
        assortment=assortment,
        item=item,
        y=y,
        similarity=s,
        behaviour=behaviour,
        bought=counts.bought,
        outside=counts.outside,
        starts=starts,
        fold=fold,
        customer=_customers(training, rows[starts]),
        first_stage=first_stages(prices, assortment.categories, least_f),
        price_unit=item_periods(item, period),
        unit_cost=instruments[schema.UNIT_COST],
        covariates=logged,
        covariate_names=covariates,
        left_out=left_out,
        weight=counts.weight,
        units=counts.units,
        counts=counts.report,
    )


def _weights(training: pd.DataFrame) -> Floats:
    """(n,) weight of each row's page: one value on all rows of a page; 1 where the table has none."""
    if schema.WEIGHT not in training.columns:
        return np.ones(len(training))
    weight = number_column(training, schema.WEIGHT)
    apart = training.groupby(schema.PAGE_ID)[schema.WEIGHT].transform("nunique").to_numpy() > 1
    wrong = apart | ~(weight >= 0)
    if wrong.any():
        examples = training.loc[wrong, schema.WEIGHT].head(3).tolist()
        raise DataError(
            f"impressions.weight: {int(wrong.sum()):,} values, such as {examples}, are negative, missing, or not the "
            "same on all rows of a page; write how many visits the page stands for, 1 where it is one",
            table=schema.IMPRESSIONS.name,
            column=schema.WEIGHT,
            rule="at least 0, one for each page",
            count=int(wrong.sum()),
            examples=examples,
        )
    return weight


def _rules(
    training: pd.DataFrame, price: Floats, reference: Floats, item: np.ndarray, similarity: Floats, weight: Floats
) -> dict[str, Flags]:
    """Rows that satisfy each rule, by rule, in the order in which rules are counted."""
    low, high = RATIO_RANGE
    everywhere = np.ones(len(training), dtype=bool)
    in_stock = everywhere
    if schema.IN_STOCK in training.columns:
        in_stock = _flags(training[schema.IN_STOCK], default=True)
    return {
        "out of stock": in_stock,
        "price not positive": np.isfinite(price) & (price > 0),
        "reference price not positive": np.isfinite(reference) & (reference > 0),
        "price ratio implausible": (price >= low * reference) & (price <= high * reference),
        "item not in the catalogue": item >= 0,
        "similarity unknown": np.isfinite(similarity),
        "weight of 0": weight > 0,
    }


def _filter(rules: dict[str, Flags]) -> tuple[Flags, dict[str, int]]:
    """Rows that satisfy all rules, and for each rule how many rows it was the first to leave out."""
    kept = np.ones(next(iter(rules.values())).size, dtype=bool)
    left_out: dict[str, int] = {}
    for rule, holds in rules.items():
        left_out[rule] = int((kept & ~holds).sum())
        kept &= holds
    return kept, left_out


def _customers(training: pd.DataFrame, first: np.ndarray) -> Ints:
    """(P,) codes of the customers of the pages that begin at these rows of the training set."""
    if schema.USER_ID not in training.columns:
        return np.arange(first.size, dtype=np.int64)
    code, known = pd.factorize(training[schema.USER_ID].iloc[first])
    return np.where(code >= 0, code, len(known) + np.arange(first.size)).astype(np.int64)


def _periods(training: pd.DataFrame, rows: np.ndarray, days: float) -> Ints | None:
    """(N,) number of the period of these rows of the training set; None where it has no times."""
    if schema.TS not in training.columns:
        return None
    ts = pd.to_datetime(training[schema.TS].iloc[rows], utc=True)
    return np.asarray((ts - ts.min()) // pd.Timedelta(days=days), dtype=np.int64)


def _flags(values: pd.Series, *, default: bool) -> Flags:
    """A column of flags, with the default for missing values."""
    return np.asarray(values.astype("boolean").fillna(default), dtype=np.bool_)


def _plausible(ratio: Floats) -> Floats:
    """NaN where a cost or competitor price is not a plausible share of the reference price."""
    return np.where((ratio > 0) & (ratio <= RATIO_RANGE[1]), ratio, np.nan)


def _standardised(values: Floats) -> Floats:
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (values - mean) ** 2, 0.0).sum(axis=0) / count)
    return cast(Floats, (values - mean) / np.where(spread > 0, spread, 1.0))


def _starts(sizes: np.ndarray) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
