"""The corridor under a demand model: at the best single price's height, above the best of everything else allowed."""

from types import SimpleNamespace

import numpy as np
import pytest

from fairtag.training import corridors as corridor_fit
from fairtag.training.corridors import fit_corridor, sample_shoppers

ITEMS, PAGES, PAGE = 30, 60, 6


class Demand:
    """Linear in similarity and one behaviour value; every seventh item is not to be priced."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.a, self.b = rng.normal(4.0, 0.5, ITEMS), rng.uniform(5, 8, ITEMS)

    def page(self, rows, similarity, behaviour=None):
        z = 0.0 if behaviour is None else float(np.nan_to_num(behaviour[0]))
        return self.a[rows] + similarity + 0.2 * z, self.b[rows] + z

    def priceable(self, rows):
        return rows % 7 != 0


def log(seed=0):
    rng = np.random.default_rng(seed)
    n = PAGES * PAGE
    return SimpleNamespace(
        item=rng.integers(0, ITEMS, n),
        y=rng.uniform(0.7, 1.0, n),
        similarity=rng.uniform(0.5, 1.0, n),
        behaviour=np.where(rng.random((PAGES, 1)) < 0.1, np.nan, rng.normal(0, 1, (PAGES, 1))),
        starts=np.arange(PAGES) * PAGE,
    )


REFERENCE = np.linspace(10, 60, ITEMS)
COST = 0.5 * REFERENCE
LO, HI = 0.7 * REFERENCE, REFERENCE.copy()


def fitted(rho=1.1, demand=None, **changes):
    demand = demand or Demand()
    shoppers = sample_shoppers(demand, log(), pages=40, seed=1)
    bounds = {"reference": REFERENCE, "cost": COST, "lo": LO, "hi": HI, **changes}
    return fit_corridor(demand, shoppers, **bounds, rho=rho), shoppers, demand


def test_a_shopper_is_a_page_visit_with_the_rest_of_the_page_around_the_place():
    demand, data = Demand(), log()
    shoppers = sample_shoppers(demand, data, pages=PAGES, seed=1)
    rng = np.random.default_rng(1)
    drawn = rng.choice(PAGES, size=PAGES, replace=False)
    for at, page in enumerate(drawn):
        rows = np.arange(page * PAGE, (page + 1) * PAGE)
        a, b = demand.page(data.item[rows], data.similarity[rows], data.behaviour[page])
        weight = np.exp(a - b * data.y[rows])
        own = int(np.flatnonzero(data.similarity[rows] == shoppers.similarity[at])[0])
        assert shoppers.outside[at] == pytest.approx(1 + weight.sum() - weight[own])
    assert len(sample_shoppers(demand, data, pages=1_000, seed=1).outside) == PAGES


def test_the_corridor_is_the_best_one_by_brute_force_over_shoppers():
    low, shoppers, demand = fitted()
    prices = np.linspace(0.7, 1.0, 3_001)
    for item in (1, 5, 12, 29):
        rows = np.array([item])
        pairs = [demand.page(rows, s, z) for s, z in zip(shoppers.similarity, shoppers.behaviour, strict=True)]
        a, b = (np.array([float(np.squeeze(pair[k])) for pair in pairs]) for k in (0, 1))
        chance = 1 / (1 + shoppers.outside[:, None] * np.exp(b[:, None] * prices - a[:, None]))
        profit = (prices - 0.5) * chance

        def worth(low, profit=profit):
            inside = (prices >= low - 1e-12) & (prices <= min(1.1 * low, 1.0) + 1e-12)
            return profit[:, inside].max(axis=1).mean()

        best = max(worth(candidate) for candidate in prices[::10])
        assert worth(low[item] / REFERENCE[item]) >= best - 1e-5


def test_bounds_hold_and_what_cannot_be_priced_ends_at_its_one_price():
    lo = LO.copy()
    lo[3] = HI[3] + 1  # nothing is allowed
    low, *_ = fitted(rho=1.1, lo=lo)
    priced = (np.arange(ITEMS) % 7 != 0) & (np.arange(ITEMS) != 3)
    assert (low[priced] >= LO[priced] - 1e-9).all()
    assert (low[priced] <= HI[priced] + 1e-9).all()
    np.testing.assert_allclose(1.1 * low[~priced], HI[~priced])


def test_chunks_do_not_change_the_answer(monkeypatch):
    whole = fitted()[0]
    monkeypatch.setattr(corridor_fit, "CHUNK_ITEMS", 4)
    np.testing.assert_array_equal(fitted()[0], whole)


def test_customers_who_differ_are_what_a_wider_corridor_is_for():
    narrow, wide = fitted(rho=1.02)[0], fitted(rho=1.3)[0]
    priced = np.arange(ITEMS) % 7 != 0
    assert (wide[priced] <= narrow[priced] + 1e-9).all()  # the wider one reaches further down to the price-sensitive
