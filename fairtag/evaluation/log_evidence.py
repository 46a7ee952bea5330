"""What the log says about a model's prices: prices, held-out demand and rivals on every logged page.

evidence = log_evidence(model, training_set, models, menu, vectors, pages=40_000, folds=4, seed=0, clip=np.inf)
evidence.difference(PUBLIC, LISTED).interval()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.data.splits import time_split
from fairtag.demand.demand_model import DemandModel
from fairtag.evaluation import off_policy as ope
from fairtag.evaluation.cross_fit import LoggedPrices, price_log, refit_prices
from fairtag.evaluation.held_out_demand import (
    HeldOutModels,
    HeldOutPages,
    held_out_cells,
    held_out_units,
    read_pages,
)
from fairtag.evaluation.page_value import PageLog, earned, one_step, predicted, shares
from fairtag.evaluation.uniform_price import best_discounts, uniform_price
from fairtag.model.pricing_model import PricingModel
from fairtag.page.held_out import sample_pages
from fairtag.solver.cells import Cells

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PUBLIC, PERSONAL = "public prices", "personal prices"
LOGGED, LISTED, UNIFORM = "logged prices", "list prices", "the best uniform prices"


@dataclass(frozen=True)
class LogEvidence:
    """A log, held-out demand on it, and the prices that are compared.

    Args:
        log: The pages.
        a: (n,) utilities, by demand models that were fitted on other customers.
        b: (n,) slopes.
        prices: (n,) money by name: :data:`PUBLIC`, :data:`PERSONAL`, :data:`LISTED`, :data:`UNIFORM`.
        earlier: (n,) an outcome of each row that was fixed before its price was drawn, NaN where unknown.
        days: Days that the log spans.
        clip: Largest weight.
    """

    log: PageLog
    a: Floats
    b: Floats
    prices: Mapping[str, Floats]
    earlier: Floats
    days: float
    clip: float = np.inf

    @cached_property
    def values(self) -> dict[str, ope.Estimate]:
        """Profit per page, money, of each price and of the log itself."""
        found = {
            name: self.log.of_pages(name, one_step(self.log, self.a, self.b, price, self.clip))
            for name, price in self.prices.items()
        }
        return {**found, LOGGED: self.log.of_pages(LOGGED, earned(self.log))}

    def difference(self, first: str, second: str) -> ope.Estimate:
        """Profit per page of one over another, paired."""
        return ope.difference(self.values[first], self.values[second])

    @cached_property
    def menu_weights(self) -> Floats:
        """(n,) importance weights of the public prices on the log's own menu; NaN where no price was drawn."""
        return menu_weights(self.log, self.prices[PUBLIC])

    def without_curves(self) -> ope.Estimate:
        """Profit per page of the public prices, corrected level by level: it assumes no form of the demand curve."""
        log = self.log
        weight = np.nan_to_num(np.minimum(self.menu_weights, self.clip))
        logged = shares(log, self.a, self.b, log.price).share
        seen = log.sums(weight * (log.bought * log.on_sale - logged) * log.margin(log.price))
        return log.of_pages("level by level", predicted(log, self.a, self.b, self.prices[PUBLIC]) + seen)


def menu_weights(log: PageLog, price: Floats) -> Floats:
    """(n,) probability of the logged level under the prices, shared between neighbouring levels, over its propensity.

    NaN where no price was drawn. Prices beyond the open levels count as the nearest of them.
    """
    known = np.isfinite(log.propensity) & log.on_sale
    below = np.where(log.levels <= price[:, None] + 1e-9, log.levels, -np.inf).max(axis=1)
    above = np.where(log.levels >= price[:, None] - 1e-9, log.levels, np.inf).min(axis=1)
    below, above = np.where(np.isfinite(below), below, above), np.where(np.isfinite(above), above, below)
    gap = above - below
    share = np.where(gap > 0, (price - below) / np.where(gap > 0, gap, 1.0), 1.0)
    distance = np.abs(log.levels - log.price[:, None])
    at = np.where(np.isnan(distance), np.inf, distance).argmin(axis=1)
    level = log.levels[np.arange(len(at)), at]
    chance = np.where(level == above, np.where(gap > 0, share, 1.0), np.where(level == below, 1.0 - share, 0.0))
    return np.where(known, chance / log.propensity, np.nan)


def log_evidence(
    model: PricingModel,
    training_set: pd.DataFrame,
    models: HeldOutModels,
    menu: Floats,
    vectors: Mapping[str, NDArray[np.float32]],
    *,
    pages: int,
    folds: int,
    seed: int,
    clip: float,
) -> LogEvidence:
    """Score the challenger's prices on the whole log.

    Args:
        model: The challenger.
        training_set: Impressions with their features, hold-out included.
        models: Held-out demand models, fitted on the hold-out.
        menu: (K,) the shares of list that prices were drawn from.
        vectors: Embedding of each query of the log.
        pages: Most pages; more are thinned by a draw.
        folds: Folds of the customers, of which each is priced by demand of the others.
        seed: Seed of the draws.
        clip: Largest weight.
    """
    known = training_set[training_set[schema.ITEM_ID].isin(model.row_of)]
    split = time_split(training_set)
    rows = sample_pages(known, pages, seed).reset_index(drop=True)
    prices = _prices(model, rows, split.part(rows[schema.TS], "hold_out"), vectors, folds, seed)
    read = read_pages(model, rows, vectors)
    coin = model.policy.limits.coin.smallest
    cells, units = held_out_cells(read, models), held_out_units(read, models)
    log = page_log(read, cells, units, open_levels(read, prices.floor, menu, coin))
    moments = rows[schema.TS]
    days = max((moments.max() - moments.min()).total_seconds() / 86_400, 1.0)
    earlier = rows[schema.SPEND_90D].to_numpy(dtype=np.float64)
    named = _with_rivals(model, read, log, models, prices)
    return LogEvidence(log, *_utilities(read, models), named, earlier, days, clip)


def held_out_prices(
    model: PricingModel, pages: HeldOutPages, models: HeldOutModels, vectors: Mapping[str, NDArray[np.float32]]
) -> dict[str, Floats]:
    """(n,) prices on the hold-out by name, for a log whose prices were not drawn."""
    log = page_log(pages, held_out_cells(pages, models), held_out_units(pages, models))
    return _with_rivals(model, pages, log, models, price_log(model, pages.rows, vectors))


def _with_rivals(
    model: PricingModel, pages: HeldOutPages, log: PageLog, models: HeldOutModels, prices: LoggedPrices
) -> dict[str, Floats]:
    return {
        PUBLIC: prices.public,
        PERSONAL: prices.personal,
        LISTED: pages.listed,
        UNIFORM: _uniform(model, pages, log, models, prices.floor),
    }


def page_log(pages: HeldOutPages, cells: Cells, units: Floats, levels: Floats | None = None) -> PageLog:
    """Held-out pages as the estimators read them; without levels, none of their prices was drawn."""
    rows = pages.rows
    price = rows[schema.PRICE].to_numpy(dtype=np.float64)
    drawn = levels is not None and schema.PROPENSITY in rows
    return PageLog(
        page=pages.page,
        customer=pages.page_customer,
        price=price,
        unit=pages.r,
        cost=pages.cost,
        bought=pages.number / units,
        on_sale=pages.on_sale,
        propensity=rows[schema.PROPENSITY].to_numpy(dtype=np.float64) if drawn else np.full(len(rows), np.nan),
        levels=price[:, None] if levels is None else levels,
        cells=cells,
        units=units,
        weight=pages.weight,
    )


def _prices(
    model: PricingModel,
    rows: pd.DataFrame,
    late: NDArray[np.bool_],
    vectors: Mapping[str, NDArray[np.float32]],
    folds: int,
    seed: int,
) -> LoggedPrices:
    """The challenger's prices on the hold-out, those of its folds before."""
    columns = np.full((3, len(rows)), np.nan)
    for part, found in (
        (late, price_log(model, rows[late], vectors)),
        (~late, refit_prices(model, rows[~late], vectors, folds, seed)),
    ):
        columns[:, part] = found.public, found.personal, found.floor
    return LoggedPrices(*columns)


def open_levels(pages: HeldOutPages, floor: Floats, menu: Floats, coin: float) -> Floats:
    """(n, K) the menu in money, NaN below what cost and limits allow and was never drawn at the item's present cost."""
    rows = pages.rows
    seen = rows.groupby([schema.ITEM_ID, schema.UNIT_COST], dropna=False)[schema.PRICE].transform("min")
    lowest = np.minimum(floor, seen.to_numpy(dtype=np.float64))
    levels = pages.listed[:, None] * menu
    return np.where(levels >= lowest[:, None] - coin, levels, np.nan)


def _utilities(pages: HeldOutPages, models: HeldOutModels) -> tuple[Floats, Floats]:
    """``(a, b)`` of each half by the model that was fitted on the other half."""
    a, b = np.zeros(len(pages.rows)), np.zeros(len(pages.rows))
    for half, model in enumerate(models):
        at = np.flatnonzero(pages.half == half)
        a[at], b[at] = _demand(pages, model, at)
    return a, b


def _demand(pages: HeldOutPages, model: DemandModel, at: Ints) -> tuple[Floats, Floats]:
    none = np.zeros(at.size)
    return model.utilities(pages.item[at], pages.similarity[at], pages.behaviour[at], none, pages.covariates[at])


def _uniform(model: PricingModel, pages: HeldOutPages, log: PageLog, models: HeldOutModels, floor: Floats) -> Floats:
    """(n,) the best uniform prices of each half, found on the other half by the model of that half's customers."""
    names, code = np.unique(model.categories.astype(str), return_inverse=True)
    category = code[pages.item]
    price = pages.listed.copy()
    for half, demand in enumerate(models):
        others, own = pages.half != half, pages.half == half
        if not others.any() or not own.any():
            continue
        part = log.rows(others)
        share = best_discounts(
            replace(part, cells=demand.cells(pages.item[others], part.page)),  # as this half's customers have them
            *_demand(pages, demand, np.flatnonzero(others)),
            listed=pages.listed[others],
            floor=floor[others],
            category=category[others],
            categories=len(names),
        )
        price[own] = uniform_price(share, category[own], pages.listed[own], floor[own])
    return price
