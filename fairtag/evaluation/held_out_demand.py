"""Held-out demand models: fitted on one half of the hold-out, each scores prices on the other half.

The challenger's own demand model never scores the challenger's prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.data.splits import unit_hash
from fairtag.demand.config import DemandConfig
from fairtag.demand.counts import units_bought
from fairtag.demand.covariates import logged_values
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.fit import fit_demand
from fairtag.demand.intents import impression_similarity
from fairtag.evaluation.calibration_gate import inputs_of
from fairtag.model.pricing_model import PricingModel
from fairtag.policy.context import MarketContext
from fairtag.price_model.price_model import reference_price
from fairtag.solver.cells import Cells
from fairtag.stock.shadow_prices import counted_cost

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HeldOutModels = tuple[DemandModel, DemandModel]  # the one at h scores half h of the customers, which it never saw

LEAST_PURCHASES = 100  # on each half; fewer do not give a usable demand model
DRAWS = 64  # posterior draws that carry the models' own uncertainty into the intervals


@dataclass(frozen=True)
class HeldOutPages:
    """Hold-out impressions as a demand model reads them, arrays (n,) in the order of ``rows``.

    Args:
        rows: The logged impressions.
        page: Number of its page, from 0.
        item: Catalogue row.
        similarity: Similarity to the intent.
        behaviour: Raw behaviour, (n, k).
        covariates: Logged values of what else shifts demand, (n, V).
        r: Reference price, money.
        cost: Unit cost, or the salvage value of stock that ages, money.
        on_sale: Whether the item could be bought.
        half: 0 or 1, by customer; a model scores the half that it was not fitted on.
        customer: Number of its customer, the unit of every interval.
    """

    rows: pd.DataFrame
    page: Ints
    item: Ints
    similarity: Floats
    behaviour: Floats
    covariates: Floats
    r: Floats
    cost: Floats
    on_sale: NDArray[np.bool_]
    half: Ints
    customer: Ints

    @property
    def listed(self) -> Floats:
        """List price of each impression."""
        return self.rows[schema.LIST_PRICE].to_numpy(dtype=np.float64)

    @property
    def number(self) -> Floats:
        """(n,) units bought."""
        return units_bought(self.rows)

    @cached_property
    def weight(self) -> Floats:
        """(P,) visits that each page stands for."""
        if schema.WEIGHT not in self.rows:
            return np.ones(int(self.page.max()) + 1)
        first = np.unique(self.page, return_index=True)[1]
        return self.rows[schema.WEIGHT].to_numpy(dtype=np.float64)[first]

    @property
    def page_customer(self) -> Ints:
        """Customer of each page."""
        first = np.unique(self.page, return_index=True)[1]
        return self.customer[first]


def read_pages(model: PricingModel, rows: pd.DataFrame, vectors: Mapping[str, NDArray[np.float32]]) -> HeldOutPages:
    """Read hold-out impressions, whose items must all be in the model's catalogue."""
    rows = rows.reset_index(drop=True)
    item = np.array([model.row_of[name] for name in rows[schema.ITEM_ID]], dtype=np.int64)
    listed = rows[schema.LIST_PRICE].to_numpy(dtype=np.float64)
    competitor = rows[schema.COMPETITOR_PRICE].to_numpy(dtype=np.float64)
    cost = counted_cost(MarketContext.of(rows), model.estimates.sales_rate[item])[0]
    in_stock = rows.get(schema.IN_STOCK, pd.Series(True, index=rows.index)).astype("boolean").fillna(value=True)
    return HeldOutPages(
        rows=rows,
        page=pd.factorize(rows[schema.PAGE_ID])[0].astype(np.int64),
        item=item,
        similarity=impression_similarity(
            rows, vectors, model.embeddings, model.row_of, alpha=model.policy.intent_alpha
        ),
        behaviour=rows[list(schema.USER_PRICING_FEATURES)].to_numpy(dtype=np.float64),
        covariates=logged_values(rows, model.demand.covariates.names),
        r=reference_price(model.estimates.f[item], listed, competitor, model.policy.reference_weights),
        cost=np.where(np.isnan(cost), listed, cost),  # unknown: as if nothing were earned
        on_sale=in_stock.to_numpy(dtype=bool),
        half=halves(rows[schema.USER_ID]),
        customer=pd.factorize(rows[schema.USER_ID])[0].astype(np.int64),
    )


def halves(users: pd.Series[str]) -> Ints:
    """Half of the customer of each row, by hash."""
    half = {user: int(unit_hash(user, "judge") < 0.5) for user in users.unique()}
    return users.map(half).to_numpy(dtype=np.int64)


def fit_held_out_models(model: PricingModel, hold_out: pd.DataFrame) -> HeldOutModels | None:
    """One demand model for each half, fitted on the customers of the other; None when a half has too few purchases."""
    half = halves(hold_out[schema.USER_ID])
    parts = [hold_out[half == 1], hold_out[half == 0]]
    if any(int(part[schema.PURCHASED].sum()) < LEAST_PURCHASES for part in parts):
        return None
    first, second = (fit_demand(inputs_of(model, part), DemandConfig()) for part in parts)
    return first, second


@dataclass(frozen=True)
class HeldOutDemand:
    """Expected demand on held-out pages, according to held-out demand models.

    Args:
        pages: The impressions.
        a: (n,) utilities.
        b: (n,) slopes.
        a_draws: (DRAWS, n) posterior draws of the utilities.
        b_draws: (DRAWS, n) of the slopes.
        cells: Near-identical items of a page, by the models' evidence.
        units: (n,) mean units of a purchase.
    """

    pages: HeldOutPages
    a: Floats
    b: Floats
    a_draws: Floats
    b_draws: Floats
    cells: Cells
    units: Floats

    def mean(self, value: Floats) -> float:
        """Mean over visits of a value (P,) of each page."""
        return float(np.average(value, weights=self.pages.weight))

    def interval(self, draws: Floats, seed: int) -> tuple[float, float]:
        """95 % interval of the mean over visits of a value under each posterior draw, (D, P)."""
        return interval(draws, self.pages.page_customer, seed, self.pages.weight)

    def page_profit(self, price: Floats) -> Floats:
        """Expected profit of each page (P,), money, at prices (n,)."""
        return self._profit(price, self.a, self.b)

    def page_profit_draws(self, price: Floats) -> Floats:
        """The same under each posterior draw, (DRAWS, P)."""
        return np.stack([self._profit(price, a, b) for a, b in zip(self.a_draws, self.b_draws, strict=True)])

    def _profit(self, price: Floats, a: Floats, b: Floats) -> Floats:
        pull = self._pull(price, a, b)
        gain = self._page_sum(pull * self.units * (price - self.pages.cost))
        return np.asarray(gain / (1.0 + self._page_sum(pull)), dtype=np.float64)

    def _pull(self, price: Floats, a: Floats, b: Floats) -> Floats:
        return np.exp(self.cells.adjust(np.where(self.pages.on_sale, a - b * price / self.pages.r, -np.inf)))

    def _page_sum(self, values: Floats) -> Floats:
        return np.asarray(np.bincount(self.pages.page, weights=values), dtype=np.float64)


def predict_demand(pages: HeldOutPages, models: HeldOutModels, seed: int) -> HeldOutDemand:
    """Predict each half of the pages by the model that was fitted on the other half."""
    n = len(pages.rows)
    a, b = np.zeros(n), np.zeros(n)
    a_draws, b_draws = np.zeros((DRAWS, n)), np.zeros((DRAWS, n))
    for half, model in enumerate(models):
        rows = np.flatnonzero(pages.half == half)
        a[rows], b[rows] = model.utilities(
            pages.item[rows], pages.similarity[rows], pages.behaviour[rows], np.zeros(rows.size), pages.covariates[rows]
        )
        _draw_pages(pages, rows, model, seed, a_draws, b_draws)
    cells, units = held_out_cells(pages, models), held_out_units(pages, models)
    return HeldOutDemand(pages, a, b, a_draws, b_draws, cells, units)


def held_out_units(pages: HeldOutPages, models: HeldOutModels) -> Floats:
    """(n,) mean units of a purchase; each half of the pages by the model that scores it."""
    return np.where(pages.half == 0, *(model.units_of(pages.item) for model in models))


def held_out_cells(pages: HeldOutPages, models: HeldOutModels) -> Cells:
    """Near-identical items of a page; each half of the pages with the dissimilarities of the model that scores it."""
    category = models[0].category[pages.item]
    zeta = np.where(pages.half == 0, *(model.dissimilarity[category] for model in models))
    return Cells.of(pages.page, models[0].nest[pages.item], zeta)


def _draw_pages(pages: HeldOutPages, rows: Ints, model: DemandModel, seed: int, a_out: Floats, b_out: Floats) -> None:
    """Fill the draws page by page, all from one seed: a draw is the same parameters on every page."""
    for page in np.unique(pages.page[rows]):
        at = rows[pages.page[rows] == page]
        a, b = model.draws(
            pages.item[at],
            pages.similarity[at],
            pages.behaviour[at[0]],
            n_draws=DRAWS,
            seed=seed,
            covariates=pages.covariates[at],
        )
        a_out[:, at], b_out[:, at] = a, b


def interval(
    draws: Floats, customer: Ints, seed: int, weight: Floats | None = None, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of a mean over pages, from the posterior draws and a Bayesian bootstrap of the customers together.

    Args:
        draws: Value of each page under each posterior draw, (D, P).
        customer: Customer of each page, (P,); a customer's pages are drawn together.
        seed: Seed of the bootstrap.
        weight: Visits that each page stands for, (P,); 1 when None.
        confidence: Two-sided level.
    """
    rng, customers = np.random.default_rng(seed), int(customer.max()) + 1
    repeats = max(1, 1_000 // len(draws))
    weights = rng.exponential(size=(len(draws), repeats, customers))
    counted = draws if weight is None else draws * weight
    own = np.stack([np.bincount(customer, weights=row, minlength=customers) for row in counted])
    pages = np.bincount(customer, weights=weight, minlength=customers).astype(np.float64)
    means = (weights @ own[:, :, None])[:, :, 0] / (weights @ pages)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
