"""Events in the simulated shop: searches, logged prices, choices, and stock.

A run has ``PERIODS`` months. Costs, competitor prices, stock and behaviour are recorded at the start of each month.
Within a month, pages are priced and choices are drawn from the planted demand among the items in stock. Stock is
updated ``BATCHES`` times a month; what sells beyond it within a part comes out of the next delivery.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fairtag.simulator.catalogue import Catalogue, Floats, Ints
from fairtag.simulator.customers import (
    WARM_UP_DAYS,
    Customers,
    Purchases,
    behaviour_at,
    choose_rows,
    other_purchases,
)
from fairtag.simulator.planted_demand import PlantedDemand
from fairtag.simulator.queries import relevance
from fairtag.simulator.shop_design import ShopDesign, ShopSize

PERIODS, PERIOD_DAYS = 6, 30
BATCHES = 10
MENU = np.array([0.7, 0.775, 0.85, 0.925, 1.0])  # logged prices over list price; the last is the list price itself
MENU_WEIGHTS = np.array([0.175, 0.175, 0.175, 0.175, 0.3])  # the shop explores, and favours its list price
MIN_MARGIN = 0.02  # a logged price is at least this far above cost
SEARCH_NOISE = 0.25  # spread of the old search engine's score around the latent relevance
CANDIDATES = 4  # items that the old search engine scores for each item shown
COST_DRIFT, COMPETITOR_SPREAD, COMPETITOR_ABSENT = 0.05, 0.08, 0.15
COST_TO_RATIO, COMPETITOR_TO_RATIO = 0.9, 0.4  # first stage of endogenous prices
MEAN_RATIO, SHOCK_SPREAD = 0.8, 0.06  # its level, and the spread of the unobserved shock in the price ratio
RATIO_RANGE = (0.55, 1.0)
COVER = 3.0  # a delivery fills stock up to this many months of mean sales
UNDELIVERED = 0.12  # share of items with no delivery in a month
OVERSTOCK = 5.0  # multiple of the usual cover for overstocked items


@dataclass(frozen=True)
class Pages:
    """Pages as arrays, one row for each page in order of time; item arrays have shape (pages, page_size).

    Args:
        user: Customer row.
        wish: Row of the wishes.
        day: Time in days.
        items: Catalogue rows in the order shown.
        similarity: Latent relevance.
        price: Money shown.
        shock: Unobserved price shock, in units of the price ratio.
        propensity: Probability of the shown price; NaN if prices were not drawn at random.
        in_stock: Whether the item could be bought.
        chosen: Column of the bought item; the page size if none was bought.
        behaviour: The customer's behaviour at that time, shape (pages, k).
    """

    user: Ints
    wish: Ints
    day: Floats
    items: Ints
    similarity: Floats
    price: Floats
    shock: Floats
    propensity: Floats
    in_stock: NDArray[np.bool_]
    chosen: Ints
    behaviour: Floats


@dataclass(frozen=True)
class Snapshot:
    """The state of the shop on a day: money and units by item, features by customer."""

    day: float
    unit_cost: Floats
    competitor: Floats
    stock: Floats
    behaviour: Floats


@dataclass
class Traffic:
    """One simulation run; :meth:`run` returns the pages and fills ``snapshots`` and ``bought``."""

    size: ShopSize
    design: ShopDesign
    catalogue: Catalogue
    customers: Customers
    planted: PlantedDemand
    rng: np.random.Generator
    bought: list[Purchases] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    def run(self) -> Pages:
        """Simulate all periods and the closing snapshot."""
        self.bought = [other_purchases(self.customers, self.catalogue, -WARM_UP_DAYS, 0.0, self.rng)]
        self._latent = relevance(self.planted.wishes, self.catalogue).astype(np.float32)
        self._candidates = self._search_candidates()
        stock = self._deliver(np.zeros(len(self.catalogue)))
        shown = self._searches()
        months = []
        for period in range(PERIODS):
            self.snapshots.append(self._snapshot(period * PERIOD_DAYS, stock))
            part = _rows(shown, (shown.day // PERIOD_DAYS).astype(int) == period)
            month, stock = self._month(self._price(part), self.snapshots[-1])
            months.append(month)
            stock = self._deliver(stock)
        self.snapshots.append(self._snapshot(PERIODS * PERIOD_DAYS, stock))
        return _concatenate(months)

    # Searches ---------------------------------------------------------------------------------------------------

    def _searches(self) -> Pages:
        n, k = self.size.pages, self.size.page_size
        day = np.sort(self._arrival_days(n))
        user = self.rng.integers(0, len(self.customers), n)
        wish = self._wishes_of(user, day)
        items = self._results(wish)
        blank = np.zeros((n, k))
        return Pages(
            user=user,
            wish=wish,
            day=day,
            items=items,
            similarity=self._latent[wish[:, None], items].astype(np.float64),
            price=blank,
            shock=blank,
            propensity=blank,
            in_stock=np.ones((n, k), dtype=bool),
            chosen=np.full(n, k),
            behaviour=np.zeros((n, len(self.planted.eta))),
        )

    def _arrival_days(self, n: int) -> Floats:
        """Times of searches: traffic follows the season (thinning of a uniform draw)."""
        day = self.rng.uniform(0, PERIODS * PERIOD_DAYS, 3 * n + 64)
        weight = (1.0 + 0.5 * self.design.season * np.cos(2 * np.pi * day / 365.0)) / 1.5
        kept = day[self.rng.random(len(day)) < weight]
        return np.asarray(kept[:n])

    def _wishes_of(self, user: Ints, day: Floats) -> Ints:
        words, wishes = self.catalogue.words, self.planted.wishes
        peak = np.array([words.raw["season_peak"][name] for name in words.categories], dtype=float)
        swing = 1.0 + self.design.season * np.cos(2 * np.pi * (day[:, None] - peak) / 365.0)
        present = np.bincount(wishes.category, minlength=len(peak)) > 0
        category = choose_rows((self.customers.taste[user] + 0.02) * swing * present, self.rng)
        chosen = np.zeros(len(user), dtype=np.int64)
        for c in np.flatnonzero(present):
            mine, rows = category == c, np.flatnonzero(wishes.category == c)
            share = wishes.popularity[rows] / wishes.popularity[rows].sum()
            chosen[mine] = self.rng.choice(rows, int(mine.sum()), p=share)
        return chosen

    def _search_candidates(self) -> Ints:
        n = min(CANDIDATES * self.size.page_size, len(self.catalogue))
        score = self._latent + self.rng.normal(0, 1e-3, self._latent.shape).astype(np.float32)
        return np.argpartition(-score, n - 1, axis=1)[:, :n]

    def _results(self, wish: Ints) -> Ints:
        candidates = self._candidates[wish]
        score = self._latent[wish[:, None], candidates]
        noisy = score + self.rng.normal(0, SEARCH_NOISE, score.shape)
        order = np.argsort(-noisy, axis=1)[:, : self.size.page_size]
        return np.take_along_axis(candidates, order, axis=1)

    # Prices -----------------------------------------------------------------------------------------------------

    def _price(self, pages: Pages) -> Pages:
        state = self.snapshots[-1]
        pages = replace(pages, behaviour=state.behaviour[pages.user])
        return self._endogenous_prices(pages, state) if self.design.endogenous else self._menu_prices(pages, state)

    def _menu_prices(self, pages: Pages, state: Snapshot) -> Pages:
        """Draw each price from the menu points that cost and MAP allow; list price is always allowed."""
        floor = np.fmax(state.unit_cost * (1.0 + MIN_MARGIN), self.catalogue.map_price)
        grid = np.round(self.catalogue.list_price[:, None] * MENU, 2)
        weight = np.where(grid >= floor[:, None], MENU_WEIGHTS, 0.0)
        weight[:, -1] = MENU_WEIGHTS[-1]
        weight /= weight.sum(axis=1, keepdims=True)
        cumulative = np.cumsum(weight, axis=1)[pages.items]
        point = (self.rng.random((*pages.items.shape, 1)) >= cumulative).sum(axis=-1).clip(0, len(MENU) - 1)
        return replace(pages, price=grid[pages.items, point], propensity=weight[pages.items, point])

    def _endogenous_prices(self, pages: Pages, state: Snapshot) -> Pages:
        """Prices that follow cost, the competitor and a demand shock that only the shop observes.

        The shock is the part of the shown price ratio that cost and competitor do not explain, rounding and bounds
        included. The control function of docs/pricing-model.md, section 4, is then exact.
        """
        listed = self.catalogue.list_price
        cost_gap = state.unit_cost / listed - (self.catalogue.unit_cost / listed).mean()
        rival_gap = np.nan_to_num(state.competitor / listed - 1.0)
        usual = (MEAN_RATIO + COST_TO_RATIO * cost_gap + COMPETITOR_TO_RATIO * rival_gap)[pages.items]
        wanted = usual + self.rng.normal(0, SHOCK_SPREAD, pages.items.shape)
        floor = np.maximum(RATIO_RANGE[0], (1.0 + MIN_MARGIN) * state.unit_cost / listed)
        price = np.round(np.clip(wanted, floor[pages.items], RATIO_RANGE[1]) * listed[pages.items], 2)
        shock = price / listed[pages.items] - usual
        return replace(pages, price=price, shock=shock, propensity=np.full(pages.items.shape, np.nan))

    # Choices and stock ------------------------------------------------------------------------------------------

    def _month(self, pages: Pages, state: Snapshot) -> tuple[Pages, Floats]:
        left = state.stock.copy()
        others = other_purchases(self.customers, self.catalogue, state.day, state.day + PERIOD_DAYS, self.rng)
        parts, edge = [], PERIOD_DAYS / BATCHES
        for batch in range(BATCHES):
            start = state.day + batch * edge
            sold = _while_stock_lasts(others.take((others.day >= start) & (others.day < start + edge)), left)
            part = self._choices(_rows(pages, (pages.day >= start) & (pages.day < start + edge)), left > 0)
            searched = self._purchases(part)
            for lines in (sold, searched):
                left -= np.bincount(lines.item, weights=lines.quantity, minlength=len(left))
                self.bought.append(lines)
            left = np.maximum(left, 0.0)
            parts.append(part)
        return _concatenate(parts), left

    def _choices(self, pages: Pages, available: NDArray[np.bool_]) -> Pages:
        """Draw from the planted logit: a Gumbel draw on the utility of every item in stock and of not buying."""
        in_stock = available[pages.items]
        a, b = self.planted.page(pages.items, pages.similarity, pages.behaviour, shock=pages.shock)
        utility = a - b * pages.price / self.catalogue.list_price[pages.items]
        available_utility = self.planted.nested(pages.items, np.where(in_stock, utility, -np.inf))
        options = np.column_stack([available_utility, np.zeros(len(pages.user))])
        return replace(
            pages, in_stock=in_stock, chosen=np.argmax(options + self.rng.gumbel(size=options.shape), axis=1)
        )

    def _purchases(self, pages: Pages) -> Purchases:
        row = np.flatnonzero(pages.chosen < self.size.page_size)
        column = pages.chosen[row]
        item, price = pages.items[row, column], pages.price[row, column]
        below = price < self.catalogue.list_price[item]
        return Purchases(pages.user[row], item, pages.day[row], np.ones(len(row), dtype=np.int64), price, below)

    def _snapshot(self, day: float, stock: Floats) -> Snapshot:
        n, listed, same = len(self.catalogue), self.catalogue.list_price, self.catalogue.copy_of
        drift = np.exp(self.rng.normal(0, COST_DRIFT, n))[same]
        rival = np.round(listed * np.exp(self.rng.normal(-0.02, COMPETITOR_SPREAD, n)), 2)
        return Snapshot(
            day=day,
            unit_cost=np.round(self.catalogue.unit_cost * drift, 2),
            competitor=np.where(self.rng.random(n) < COMPETITOR_ABSENT, np.nan, rival)[same],
            stock=stock,
            behaviour=behaviour_at(day, Purchases.concatenate(self.bought), len(self.customers)),
        )

    def _deliver(self, stock: Floats) -> Floats:
        """Stock after the monthly delivery: filled up to a target, except items that were not delivered."""
        a_month = self.customers.rate.sum() * PERIOD_DAYS + 0.4 * self.size.pages / PERIODS
        mean = COVER * a_month / len(stock) * np.where(self.catalogue.overstocked, OVERSTOCK, 1.0)
        target = 1.0 + self.rng.poisson(mean)
        delivered = self.rng.random(len(stock)) >= UNDELIVERED
        return np.where(delivered, np.maximum(stock, target), stock)


def _while_stock_lasts(lines: Purchases, stock: Floats) -> Purchases:
    """The lines that stock can serve, first come, first served."""
    order = np.lexsort((lines.day, lines.item))
    item, quantity = lines.item[order], lines.quantity[order]
    total = np.cumsum(quantity)
    first = np.searchsorted(item, item, side="left")
    within = total - (total[first] - quantity[first])
    return lines.take(np.sort(order[within <= stock[item]]))


def _rows(pages: Pages, mask: NDArray[np.bool_]) -> Pages:
    return replace(pages, **{name: getattr(pages, name)[mask] for name in Pages.__dataclass_fields__})


def _concatenate(parts: list[Pages]) -> Pages:
    names = Pages.__dataclass_fields__
    return Pages(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
