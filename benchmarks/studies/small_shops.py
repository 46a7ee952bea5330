"""What a small shop can learn: calibration and profit of demand fitted on planted shops of many sizes.

Prices are drawn from a five-point menu, choices from a logit of the model's own form whose items, categories, texts
and customers differ as those of the simulated shop do. Nothing but the size changes from row to row. What it is for:
docs/pricing-model.md, section 14, the eleventh finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.result import Result, Row
from fairtag.base import schema
from fairtag.base.normal import Z95
from fairtag.demand.calibration import calibrate
from fairtag.demand.choices import Floats, Ints
from fairtag.demand.demand_data import Assortment, DemandData, demand_data
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.elasticity import check_elasticity, with_cross_check
from fairtag.demand.fit import fit_demand
from fairtag.solver.page_solver import solve_pages

SIZES = ((20, 200), (20, 2_000), (112, 4_000), (112, 20_000), (400, 20_000), (1_000, 80_000), (3_000, 200_000))
QUICK = ((20, 200), (112, 4_000))
SEEDS, MOST_CELLS = 8, 160_000  # shops of each size; fewer of the large ones, whose figures vary less
PAGE, HELD_OUT = 8, 4_000  # items on a page; held-out pages, so that they add little to the noise
MENU = np.array([0.7, 0.775, 0.85, 0.925, 1.0])
COST = 0.5  # of every item, in units of its list price
CATEGORIES, DIMENSIONS = 6, 12
LEAST_PAGES = 500  # from which on the slope is held to its range


@dataclass(frozen=True)
class Shop:
    """A planted shop: what was logged, and later pages (pages, items of a page) with their true demand.

    Args:
        data: Pages to learn from.
        later: Later pages as demand data.
        items: Catalogue rows of the later pages.
        a: Their true utilities.
        b: Their true slopes.
    """

    data: DemandData
    later: DemandData
    items: Ints
    a: Floats
    b: Floats

    def profit(self, y: Floats | float) -> float:
        """True expected profit of the later pages, in units of list a page."""
        pull = np.exp(self.a - self.b * y)
        return float(((pull * (y - COST)).sum(axis=1) / (1.0 + pull.sum(axis=1))).mean())


def quick() -> Result:
    """The two smallest kinds of shop, two of each."""
    return run(QUICK, seeds=2)


def run(sizes: Sequence[tuple[int, int]] = SIZES, *, seeds: int = SEEDS) -> Result:
    """Calibration slope, share of the oracle's uplift and gain over one price ratio for all, by size of the shop."""
    notes = (
        f"Planted shops: I items, N impressions on pages of {PAGE}; prices drawn from five points between 70 % and "
        f"100 % of list. Calibration and profit on {HELD_OUT:,} later pages. Means over shops, 95 % intervals.",
        "slope: calibration slope of predicted purchases, 1 is calibrated. kept: share of the oracle's uplift over "
        "list that learned prices reach. over_uniform: their profit over that of the best single price ratio of all "
        "items, known without error.",
        f"From {LEAST_PAGES} pages on the slope is to lie in [0.9, 1.1].",
    )
    rows = [row for items, impressions in sizes for row in size_rows(items, impressions, seeds)]
    return Result(tuple(rows), notes)


def size_rows(items: int, impressions: int, seeds: int) -> Iterator[Row]:
    """The figures of one size."""
    count = max(2, min(seeds, MOST_CELLS // impressions))
    found = np.array([figures(plant(items, impressions, seed)) for seed in range(count)])
    name = f"{items}_items_{impressions}_impressions"
    held = impressions // PAGE >= LEAST_PAGES
    for metric, values, reference in zip(
        ("slope", "kept", "over_uniform"), found.T, ("0.9 to 1.1" if held else None, None, ">= -0.01"), strict=True
    ):
        mean, reach = float(values.mean()), Z95 * float(values.std(ddof=1)) / np.sqrt(count)
        yield Row(f"{metric}_{name}", mean, mean - reach, mean + reach, reference=reference)


def figures(shop: Shop) -> tuple[float, float, float]:
    """Calibration slope, share of the oracle's uplift kept, and profit over the best uniform price minus 1."""
    model = fit_demand(shop.data)
    slope = calibrate(model, shop.later, shop.data).slope.value
    listed, oracle = shop.profit(1.0), shop.profit(best_prices(shop.a, shop.b))
    learned = shop.profit(learned_prices(with_cross_check(model, check_elasticity(model, shop.data)), shop))
    uniform = max(shop.profit(float(y)) for y in np.linspace(MENU[0], 1.0, 61))
    return slope, (learned - listed) / (oracle - listed), learned / uniform - 1.0


def learned_prices(model: DemandModel, shop: Shop) -> Floats:
    """Best prices of the later pages under a model; list for an item that may not be priced."""
    page, shape = shop.later.page, shop.items.shape
    flat = shop.later.item
    a, b = model.utilities(flat, shop.later.similarity, shop.later.behaviour[page], np.zeros(flat.size))
    low = np.where(model.priceable(flat), MENU[0], 1.0).reshape(shape)
    return best_prices(a.reshape(shape), b.reshape(shape), low)


def best_prices(a: Floats, b: Floats, low: Floats | float = MENU[0]) -> Floats:
    """Best prices of pages between their lowest price and list."""
    return solve_pages(a, b, COST, 1.0, low, 1.0).y


def plant(items: int, impressions: int, seed: int) -> Shop:
    """Draw a shop and its log."""
    rng = np.random.default_rng([seed, items, impressions])
    first = impressions // PAGE
    pages = first + HELD_OUT
    category = np.arange(items) % min(CATEGORIES, max(1, items // 8))
    text = rng.normal(size=(items, DIMENSIONS)) / np.arange(1, DIMENSIONS + 1)
    slope = rng.uniform(4.5, 7.5, CATEGORIES)[category] + 0.8 * text[:, 0] + rng.normal(0, 0.15, items)
    level = np.log(1.5 / PAGE) + rng.normal(0, 0.15, CATEGORIES)[category] + rng.normal(0, 0.15, items)
    item = _draw(rng, pages, items)
    similarity = rng.uniform(0.3, 1.0, item.shape)
    z = rng.normal(size=(pages, len(schema.USER_PRICING_FEATURES)))
    b = slope[item] - (similarity - 0.65) + (z @ [0.15, -0.2, -0.1, 0.3])[:, None]
    b = np.maximum(b, 0.5)
    a = level[item] + 3.0 * (similarity - 0.65) + 0.85 * slope[item] + (z @ [-0.15, 0.15, 0.05, 0.1])[:, None]
    y = rng.choice(MENU, item.shape)
    utility = np.column_stack([a - b * y, np.zeros(pages)]) + rng.gumbel(size=(pages, PAGE + 1))
    bought = utility.argmax(axis=1)[:, None] == np.arange(PAGE)
    frame = pd.DataFrame(
        {
            schema.PAGE_ID: np.repeat([f"p{page}" for page in range(pages)], PAGE),
            schema.ITEM_ID: np.char.add("i", item.ravel().astype(str)),
            schema.PRICE: y.ravel(),
            schema.LIST_PRICE: 1.0,
            schema.PURCHASED: bought.ravel(),
            **{name: np.repeat(z[:, k], PAGE) for k, name in enumerate(schema.USER_PRICING_FEATURES)},
        }
    )
    catalogue = pd.DataFrame({schema.ITEM_ID: [f"i{n}" for n in range(items)], schema.CATEGORY: category.astype(str)})
    assortment, cut = Assortment.of(catalogue, text), first * PAGE
    data, later = (
        demand_data(frame[part], assortment, similarity=similarity.ravel()[part])
        for part in (slice(None, cut), slice(cut, None))
    )
    return Shop(data, later, item[first:], a[first:], b[first:])


def _draw(rng: np.random.Generator, pages: int, items: int) -> Ints:
    """(pages, PAGE) items, each at most once on a page: pages that hold one twice are drawn again."""
    item = rng.integers(0, items, (pages, PAGE))
    while (twice := (np.diff(np.sort(item, axis=1), axis=1) == 0).any(axis=1)).any():
        item[twice] = rng.integers(0, items, (int(twice.sum()), PAGE))
    return item
