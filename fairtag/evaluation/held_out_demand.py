"""Demand models that judge a policy they did not make: fitted on the hold-out, each scoring the other half.

Knows pages and prices; nothing of the challenger's own demand model, which never scores itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.data.splits import unit_hash
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.fit import DemandConfig, fit_demand
from fairtag.demand.intents import impression_similarity
from fairtag.evaluation.calibration_gate import inputs_of
from fairtag.model.pricing_model import PricingModel
from fairtag.policy.context import MarketContext
from fairtag.price_model.price_model import reference_price
from fairtag.stock.shadow_prices import counted_cost

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_PURCHASES = 100  # a half with fewer cannot judge
DRAWS = 64  # posterior draws that carry the judge's own doubt into the intervals


@dataclass(frozen=True)
class Trial:
    """Hold-out impressions as a judge sees them, arrays (n,), in the order of ``rows``.

    Args:
        rows: The logged impressions.
        page: Page number of each, 0 first.
        item: Catalogue row.
        similarity: s to the intent.
        behaviour: (n, k) raw behaviour.
        r: Reference price.
        cost: Unit cost, or the salvage value of stock that ages.
        on_sale: Whether the item could be bought.
        half: 0 or 1, by customer; a judge scores the half it was not fitted on.
        customer: Customer number, the unit of every interval.
    """

    rows: pd.DataFrame
    page: Ints
    item: Ints
    similarity: Floats
    behaviour: Floats
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
    def page_customer(self) -> Ints:
        """Customer of each page."""
        first = np.unique(self.page, return_index=True)[1]
        return self.customer[first]


def make_trial(model: PricingModel, rows: pd.DataFrame, vectors: Mapping[str, NDArray[np.float32]]) -> Trial:
    """Read hold-out impressions of items in the catalogue."""
    rows = rows.reset_index(drop=True)
    item = np.array([model.row_of[name] for name in rows[schema.ITEM_ID]], dtype=np.int64)
    listed = rows[schema.LIST_PRICE].to_numpy(dtype=np.float64)
    competitor = rows[schema.COMPETITOR_PRICE].to_numpy(dtype=np.float64)
    in_stock = rows.get(schema.IN_STOCK, pd.Series(True, index=rows.index)).astype("boolean").fillna(value=True)
    return Trial(
        rows=rows,
        page=pd.factorize(rows[schema.PAGE_ID])[0].astype(np.int64),
        item=item,
        similarity=impression_similarity(
            rows, vectors, model.embeddings, model.row_of, alpha=model.policy.intent_alpha
        ),
        behaviour=rows[list(schema.USER_PRICING_FEATURES)].to_numpy(dtype=np.float64),
        r=reference_price(model.estimates.f[item], listed, competitor, model.policy.reference_weights),
        cost=counted_cost(MarketContext.of(rows), model.estimates.sales_rate[item])[0],
        on_sale=in_stock.to_numpy(dtype=bool),
        half=halves(rows[schema.USER_ID]),
        customer=pd.factorize(rows[schema.USER_ID])[0].astype(np.int64),
    )


def halves(users: pd.Series[str]) -> Ints:
    """Half of each customer, by hash."""
    half = {user: int(unit_hash(user, "judge") < 0.5) for user in users.unique()}
    return users.map(half).to_numpy(dtype=np.int64)


def fit_judges(model: PricingModel, hold_out: pd.DataFrame) -> tuple[DemandModel, DemandModel] | None:
    """Judge k is fitted on the customers of half 1 - k and scores half k; None where the purchases do not suffice."""
    half = halves(hold_out[schema.USER_ID])
    parts = [hold_out[half == 1], hold_out[half == 0]]
    if any(int(part[schema.PURCHASED].sum()) < LEAST_PURCHASES for part in parts):
        return None
    first, second = (fit_demand(inputs_of(model, part), DemandConfig()) for part in parts)
    return first, second


@dataclass(frozen=True)
class Judgement:
    """Expected demand of a trial under its judges.

    Args:
        trial: The impressions.
        a: (n,) utilities.
        b: (n,) slopes.
        a_draws: (DRAWS, n) posterior draws of the utilities.
        b_draws: (DRAWS, n) of the slopes.
    """

    trial: Trial
    a: Floats
    b: Floats
    a_draws: Floats
    b_draws: Floats

    def page_profit(self, price: Floats) -> Floats:
        """(P,) expected profit of each page, in money, at prices (n,)."""
        return self._profit(price, self.a, self.b)

    def page_profit_draws(self, price: Floats) -> Floats:
        """(DRAWS, P) the same under each posterior draw."""
        return np.stack([self._profit(price, a, b) for a, b in zip(self.a_draws, self.b_draws, strict=True)])

    def item_profit(self, price: Floats) -> Floats:
        """(n,) expected profit of each impression when all prices are (n,)."""
        pull = self._pull(price, self.a, self.b)
        return np.asarray(pull * (price - self.trial.cost) / (1.0 + self._page_sum(pull))[self.trial.page])

    def item_rewards(self, levels: Floats) -> Floats:
        """(n, K) expected profit of each impression at each level of its list price, all others as logged."""
        logged = self.trial.rows[schema.PRICE].to_numpy(dtype=np.float64)
        pull = self._pull(logged, self.a, self.b)
        others = self._page_sum(pull)[self.trial.page] + 1.0 - pull
        price = self.trial.listed[:, None] * levels
        own = np.where(
            self.trial.on_sale[:, None], np.exp(self.a[:, None] - self.b[:, None] * price / self.trial.r[:, None]), 0.0
        )
        return np.asarray(own / (others[:, None] + own) * (price - self.trial.cost[:, None]), dtype=np.float64)

    def _profit(self, price: Floats, a: Floats, b: Floats) -> Floats:
        pull = self._pull(price, a, b)
        gain = self._page_sum(pull * (price - self.trial.cost))
        return np.asarray(gain / (1.0 + self._page_sum(pull)), dtype=np.float64)

    def _pull(self, price: Floats, a: Floats, b: Floats) -> Floats:
        return np.where(self.trial.on_sale, np.exp(a - b * price / self.trial.r), 0.0)

    def _page_sum(self, values: Floats) -> Floats:
        return np.asarray(np.bincount(self.trial.page, weights=values), dtype=np.float64)


def judge(trial: Trial, judges: tuple[DemandModel, DemandModel], seed: int) -> Judgement:
    """Let each judge look at the half it was not fitted on."""
    n = len(trial.rows)
    a, b = np.zeros(n), np.zeros(n)
    a_draws, b_draws = np.zeros((DRAWS, n)), np.zeros((DRAWS, n))
    for half, model in enumerate(judges):
        rows = np.flatnonzero(trial.half == half)
        a[rows], b[rows] = model.utilities(
            trial.item[rows], trial.similarity[rows], trial.behaviour[rows], np.zeros(rows.size)
        )
        _draw_pages(trial, rows, model, seed, a_draws, b_draws)
    return Judgement(trial, a, b, a_draws, b_draws)


def _draw_pages(trial: Trial, rows: Ints, model: DemandModel, seed: int, a_out: Floats, b_out: Floats) -> None:
    """Fill the draws page by page; one seed for all, so that a draw is one state of the world."""
    for page in np.unique(trial.page[rows]):
        at = rows[trial.page[rows] == page]
        a, b = model.draws(trial.item[at], trial.similarity[at], trial.behaviour[at[0]], n_draws=DRAWS, seed=seed)
        a_out[:, at], b_out[:, at] = a, b


def interval(draws: Floats, customer: Ints, seed: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a mean over pages: the judge's posterior and a Bayesian bootstrap of the customers together.

    Args:
        draws: (D, P) value of each page under each posterior draw.
        customer: (P,) customer of each page; their pages are drawn together.
        seed: Seed of the bootstrap.
        confidence: Two-sided level.
    """
    rng = np.random.default_rng(seed)
    repeats = max(1, 1_000 // len(draws))
    weights = rng.exponential(size=(len(draws), repeats, int(customer.max()) + 1))[:, :, customer]
    means = (weights * draws[:, None, :]).sum(axis=2) / weights.sum(axis=2)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
