"""Prices for the orange juice shelf from one model, scored on held-out weeks by another.

Prices come from a logit of the shelf (Berry's inversion, effects of store and brand, one slope for each brand) and the
exact page solver. The scorer is a log-log system with all cross prices, estimated on the held-out weeks and anchored at
their sales: at the shop's own prices it gives the recorded profit, and only the change of sales is modelled. A product
on deal or feature keeps the shop's price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.studies.dominicks.panel import Floats, Panel, within
from fairtag.solver.page_solver import page_value, solve_pages

BLOCKS = 5  # runs of consecutive weeks; each is held out once
MARKET = 2.0  # potential sales of a store over its mean sales: an assumption of the logit, varied in the study
LEAST_OUTSIDE = 0.05  # smallest unsold share of the potential, in the busiest weeks
RANGE = (0.05, 0.95)  # a brand is priced between these quantiles of its training prices
STEP = 0.1  # largest change from the shop's own price under the change limit


@dataclass(frozen=True)
class ShelfModel:
    """Logit of a store's shelf, prices in units of ``unit`` dollars an ounce.

    Args:
        a: (stores, 11) utilities at price zero.
        b: (11,) price slopes.
        deal: (11,) effects of a deal.
        feature: (11,) effects of a feature.
        unit: Dollars an ounce that count as 1; the same for all brands, so that profits add up.
    """

    a: Floats
    b: Floats
    deal: Floats
    feature: Floats
    unit: float

    def utilities(self, panel: Panel) -> Floats:
        """(T, 11) utilities at price zero of the store-weeks."""
        return self.a[panel.store] + self.deal * panel.deal + self.feature * panel.feature


def fit_shelf(panel: Panel, market: float = MARKET) -> ShelfModel:
    """Least squares of ``log(sales_i / unsold)`` on price, deal and feature within stores, brand by brand."""
    totals = panel.ounces.sum(axis=1)
    potential = market * _store_means(totals[:, None], panel)[panel.store, 0]
    unsold = np.maximum(potential - totals, LEAST_OUTSIDE * potential)
    unit = float(panel.price.mean())
    n = panel.price.shape[1]
    a, theta = np.zeros((panel.n_stores, n)), np.zeros((n, 3))
    for i in range(n):
        y = np.log(panel.ounces[:, i] / unsold)
        X = np.column_stack([panel.price[:, i] / unit, panel.deal[:, i], panel.feature[:, i]])
        theta[i], *_ = np.linalg.lstsq(within(X, panel.store), within(y, panel.store), rcond=None)
        means = _store_means(np.column_stack([y, X]), panel)
        a[:, i] = means[:, 0] - means[:, 1:] @ theta[i]
    return ShelfModel(a, -theta[:, 0], theta[:, 1], theta[:, 2], unit)


def _store_means(values: Floats, panel: Panel) -> Floats:
    """(stores, k) means; a store without weeks has the mean over stores."""
    count = np.bincount(panel.store, minlength=panel.n_stores)
    sums = np.column_stack([np.bincount(panel.store, weights=v, minlength=panel.n_stores) for v in values.T])
    overall: Floats = values.mean(axis=0)
    return np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], overall)


def brand_range(training: Panel) -> tuple[Floats, Floats]:
    """(11,) lowest and highest price of each brand that the training weeks support."""
    return np.quantile(training.price, RANGE[0], axis=0), np.quantile(training.price, RANGE[1], axis=0)


def best_prices(model: ShelfModel, panel: Panel, low: Floats, high: Floats) -> Floats:
    """(T, 11) optimal prices of each store-week within bounds (broadcast to (T, 11)); promotions keep their price."""
    keep = panel.promoted
    lo = np.where(keep, panel.price, np.broadcast_to(low, panel.price.shape)) / model.unit
    hi = np.where(keep, panel.price, np.broadcast_to(high, panel.price.shape)) / model.unit
    a = model.utilities(panel)
    solved = solve_pages(a, np.broadcast_to(model.b, a.shape), panel.cost / model.unit, 0.0, lo, hi)
    return np.where(keep, panel.price, solved.y * model.unit)


def best_uniform(model: ShelfModel, panel: Panel, low: Floats, high: Floats) -> Floats:
    """(11,) the best single price of each brand for all stores and weeks, under the model on the training weeks."""
    a, cost, keep = model.utilities(panel), panel.cost / model.unit, panel.promoted

    def loss(prices: Floats) -> float:
        y = np.where(keep, panel.price / model.unit, prices)
        value, _ = page_value(y, a, model.b, cost)
        return -float(value.mean())

    start = np.clip(panel.price.mean(axis=0), low, high) / model.unit
    bounds = list(zip(low / model.unit, high / model.unit, strict=True))
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    prices: Floats = found.x * model.unit
    return prices


def change_limits(panel: Panel, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """(T, 11) bounds within ``STEP`` of the shop's price and, where it allows, within the brand's range."""
    lo, hi = panel.price * (1.0 - STEP), panel.price * (1.0 + STEP)
    return np.clip(low, lo, panel.price), np.clip(high, panel.price, hi)


@dataclass(frozen=True)
class Scorer:
    """Log-log demand of the held-out weeks, as sufficient statistics of each store.

    Args:
        panel: The held-out weeks.
        gram: (11, stores, 13, 13) sums of ``x x'`` within stores, by brand.
        moment: (11, stores, 13) sums of ``x y``.
    """

    panel: Panel
    gram: Floats
    moment: Floats

    def elasticities(self, weights: Floats) -> Floats:
        """(11, 11) elasticity of the row brand's sales to the column brand's price, with stores weighted."""
        n = self.gram.shape[0]
        gram = np.einsum("s,nskl->nkl", weights, self.gram)
        moment = np.einsum("s,nsk->nk", weights, self.moment)
        inverse = np.linalg.pinv(gram, hermitian=True)  # a deal may be on, or off, for a whole block of weeks
        theta: Floats = np.einsum("nkl,nl->nk", inverse, moment)
        return theta[:, :n]

    def profit(self, prices: Floats, elasticities: Floats) -> Floats:
        """(stores,) profit in dollars at other prices: the recorded sales, changed by the elasticities."""
        moved = np.log(prices / self.panel.price) @ elasticities.T
        profit = (self.panel.ounces * np.exp(moved) * (prices - self.panel.cost)).sum(axis=1)
        by_store: Floats = np.bincount(self.panel.store, weights=profit, minlength=self.gram.shape[1]).astype(float)
        return by_store


def make_scorer(panel: Panel, n_stores: int) -> Scorer:
    """Sufficient statistics of the log-log system on some weeks."""
    n = panel.price.shape[1]
    prices = np.log(panel.price)
    order = np.argsort(panel.store, kind="stable")
    edges = np.searchsorted(panel.store[order], np.arange(n_stores + 1))
    gram, moment = np.zeros((n, n_stores, n + 2, n + 2)), np.zeros((n, n_stores, n + 2))
    for i in range(n):
        X = within(np.column_stack([prices, panel.deal[:, i], panel.feature[:, i]]), panel.store)[order]
        y = within(np.log(panel.ounces[:, i]), panel.store)[order]
        for s in range(n_stores):
            part = slice(edges[s], edges[s + 1])
            gram[i, s], moment[i, s] = X[part].T @ X[part], X[part].T @ y[part]
    return Scorer(panel, gram, moment)


@dataclass(frozen=True)
class Round:
    """One block of held-out weeks: its scorer, and the prices of each policy, which did not see these weeks."""

    scorer: Scorer
    prices: dict[str, Floats]


def held_out_rounds(panel: Panel, market: float = MARKET) -> list[Round]:
    """Each block of weeks, priced by policies learned on the other blocks."""
    rounds = []
    for block in np.array_split(np.unique(panel.week), BLOCKS):
        inside = np.isin(panel.week, block)
        training, held_out = panel.rows(~inside), panel.rows(inside)
        model = fit_shelf(training, market)
        low, high = brand_range(training)
        uniform = np.where(held_out.promoted, held_out.price, best_uniform(model, training, low, high))
        prices = {
            "shop": held_out.price,
            "uniform": uniform,
            "learned": best_prices(model, held_out, low, high),
            "learned_within_limit": best_prices(model, held_out, *change_limits(held_out, low, high)),
            "uniform_within_limit": np.clip(uniform, *change_limits(held_out, low, high)),
        }
        rounds.append(Round(make_scorer(held_out, panel.n_stores), prices))
    return rounds


def policy_profits(rounds: list[Round], weights: NDArray[np.float64]) -> dict[str, float]:
    """Profit of each policy over all rounds in dollars; the weights of stores also enter the scorers' estimates."""
    totals = dict.fromkeys(rounds[0].prices, 0.0)
    for each in rounds:
        elasticities = each.scorer.elasticities(weights)
        for name, prices in each.prices.items():
            totals[name] += float(weights @ each.scorer.profit(prices, elasticities))
    return totals
