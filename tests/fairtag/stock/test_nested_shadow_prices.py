"""Shadow prices where near-identical items share demand: stock is met, and no smaller dual is near."""

import numpy as np
import pytest

from fairtag.solver.nested_pages import solve_nested_pages
from fairtag.stock.shadow_prices import shadow_prices


@pytest.fixture
def shop():
    """Pages of six among twenty items, of which the first twelve are pairs of twins with little stock."""
    rng = np.random.default_rng(5)
    items = np.stack([rng.choice(20, 6, replace=False) for _ in range(120)])
    nest = np.r_[np.repeat(np.arange(6), 2), np.arange(6, 14)][items]
    level, slope, cost = rng.normal(2.5, 0.5, 20), rng.uniform(3, 6, 14), rng.uniform(0.4, 0.6, 20)
    terms = (level[items], slope[nest], cost[items], np.ones((120, 6)), cost[items], np.full((120, 6), 3.0))
    return terms, items, nest


def test_demand_meets_the_stock_of_twins_at_the_shadow_prices(shop):
    terms, items, nest = shop
    stock = np.where(np.arange(20) % 3 == 0, 2.0, np.nan)
    found = shadow_prices(*terms, items=items, stock=stock, nest=nest, dissimilarity=0.4)
    assert found.converged
    limited = ~np.isnan(stock)
    assert (found.mu[limited] > 0).any()
    assert (found.demand[limited] <= 2.0 + 1e-5).all()
    assert np.abs(found.mu[limited] * (2.0 - found.demand[limited])).max() < 2e-6
    solved = solve_nested_pages(*terms, nest=nest, dissimilarity=0.4, shadow=found.mu[items])
    sold = np.bincount(items.ravel(), weights=solved.q.ravel(), minlength=20)
    np.testing.assert_allclose(sold, found.demand, atol=1e-9)


def test_twins_that_share_demand_need_less_protection_than_items_that_do_not(shop):
    terms, items, nest = shop
    stock = np.full(20, 3.0)
    apart, shared = (
        shadow_prices(*terms, items=items, stock=stock, nest=nest, dissimilarity=zeta) for zeta in (1.0, 0.3)
    )
    plain = shadow_prices(*terms, items=items, stock=stock)
    np.testing.assert_allclose(apart.mu, plain.mu, atol=1e-12)
    assert shared.converged
    assert shared.mu[:12].sum() < apart.mu[:12].sum()
