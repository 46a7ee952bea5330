"""The corridor: its optimum against brute force, its promise on groupings nobody thought of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairtag.base.errors import ConfigError, DataError
from fairtag.fairness import corridor as fairness

MENU = np.exp(np.linspace(np.log(0.3), np.log(3.0), 20_001))


def sample(seed=0, customers=40, items=6):
    rng = np.random.default_rng(seed)
    a = rng.normal(2.0, 1.0, (customers, items))
    b = rng.uniform(2.0, 6.0, (customers, items))
    cost = rng.uniform(0.3, 0.7, items)
    outside = 1 + rng.uniform(0, 2, (customers, items))
    profit = (MENU - cost[:, None]) / (1 + outside[..., None] * np.exp(b[..., None] * MENU - a[..., None]))
    return fairness.population(MENU[profit.argmax(axis=2)], a, b, cost, outside=outside), profit


def brute(profit, rho, lo=0.0, hi=np.inf):
    """Best corridor on a dense grid of l, every customer choosing freely inside it: no clipping argument used."""
    best = -np.inf
    for low in np.exp(np.linspace(np.log(0.3), np.log(3.0), 400)):
        inside = (max(low, lo) <= MENU) & (min(rho * low, hi) >= MENU)
        if low >= lo and low <= hi and inside.any():
            best = max(best, profit[:, inside].max(axis=1).mean())
    return best


@pytest.mark.parametrize("rho", [1.03, 1.1, 1.3])
def test_the_optimum_is_that_of_brute_force(rho):
    customers, profit = sample()
    corridor = fairness.optimal_corridor(customers, rho)
    np.testing.assert_allclose(corridor.high, rho * corridor.low, rtol=1e-15)
    for item in range(customers.items):
        exhaustive = brute(profit[:, item], rho)
        assert corridor.profit[item] >= exhaustive - 1e-6
        assert corridor.profit[item] == pytest.approx(exhaustive, rel=2e-3)


def test_a_width_of_one_is_the_best_single_price():
    customers, profit = sample(1)
    corridor = fairness.optimal_corridor(customers, 1.0)
    np.testing.assert_allclose(corridor.profit, profit.mean(axis=0).max(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(corridor.low, corridor.high)


def test_a_corridor_wider_than_all_wishes_costs_nothing():
    customers, profit = sample(2)
    np.testing.assert_allclose(
        fairness.optimal_corridor(customers, 20.0).profit, profit.max(axis=2).mean(axis=0), rtol=1e-6
    )


def test_bounds_hold_and_bind():
    customers, profit = sample(3)
    lo, hi = np.full(customers.items, 0.9), np.full(customers.items, 1.0)
    corridor = fairness.optimal_corridor(customers, 1.05, lo=lo, hi=hi)
    assert (corridor.low >= lo).all()
    assert (corridor.low <= hi).all()
    for item in range(customers.items):
        assert corridor.profit[item] >= brute(profit[:, item], 1.05, 0.9, 1.0) - 1e-6


def test_weights_count_customers_and_do_not_depend_on_their_sum():
    customers, _ = sample(4, customers=3)
    twice = fairness.population(
        customers.asked[[0, 0, 1, 2]],
        customers.a[[0, 0, 1, 2]],
        customers.b[[0, 0, 1, 2]],
        customers.cost[[0, 0, 1, 2]],
        outside=customers.outside[[0, 0, 1, 2]],
    )
    weighted = fairness.population(
        customers.asked, customers.a, customers.b, customers.cost, outside=customers.outside, weight=[20, 10, 10]
    )
    np.testing.assert_allclose(
        fairness.optimal_corridor(weighted, 1.1).profit, fairness.optimal_corridor(twice, 1.1).profit
    )


def test_chunks_of_items_do_not_change_the_answer(monkeypatch):
    customers, _ = sample(5, items=11)
    whole = fairness.optimal_corridor(customers, 1.1)
    monkeypatch.setattr(fairness, "CHUNK_CELLS", 1)
    np.testing.assert_array_equal(fairness.optimal_corridor(customers, 1.1).low, whole.low)


def test_of_corridors_that_earn_the_same_the_one_nearest_to_the_preferred_price_is_taken():
    alike = fairness.population(np.full((5, 2), 0.9), np.full((5, 2), 2.0), np.full((5, 2), 4.0), [0.5, 0.5])
    np.testing.assert_allclose(fairness.optimal_corridor(alike, 1.25, prefer=[0.8, 2.0]).low, [0.8, 0.9], rtol=1e-4)
    np.testing.assert_allclose(fairness.optimal_corridor(alike, 1.25).low, 0.9)


def test_a_sale_that_the_rest_of_the_page_would_have_made_is_no_gain():
    customers, _ = sample(8)
    worth = np.random.default_rng(0).uniform(0.05, 0.2, customers.asked.shape)
    on_page = fairness.population(
        customers.asked, customers.a, customers.b, customers.cost + worth, outside=customers.outside
    )
    alone, whole = (fairness.optimal_corridor(each, 1.05).low for each in (customers, on_page))
    assert (whole > alone).all()


def within_gap(log_price, group, stratum):
    """The fixed effects estimate by hand: pooled within-stratum covariance over variance of the group."""
    top = bottom = 0.0
    for s in np.unique(stratum):
        g, y = group[stratum == s], log_price[stratum == s]
        top += ((g - g.mean()) * (y - y.mean())).sum()
        bottom += ((g - g.mean()) ** 2).sum()
    return top / bottom if bottom else 0.0


@pytest.mark.parametrize("rho", [1.0, 1.02, 1.1, 1.5])
def test_no_grouping_whatever_has_a_gap_above_log_rho(rho):
    rng = np.random.default_rng(11)
    n, items = 600, 7
    item = rng.integers(0, items, n)
    low = rng.uniform(0.5, 3.0, items)
    position = rng.beta(0.3, 0.3, n)  # prices pile up at both edges: the worst case for any gap
    log_price = np.log(low[item]) + position * np.log(rho)
    bound = np.log(rho)
    groupings = [rng.random(n) < share for share in rng.uniform(0.02, 0.98, 120)]
    groupings += [position > cut for cut in np.linspace(0.05, 0.95, 30)]  # drawn by an adversary who sees the prices
    groupings += [(position > 0.5) & (item == i) for i in range(items)]
    gaps = [abs(within_gap(log_price, group.astype(float), item)) for group in groupings]
    assert len(gaps) > 150
    assert max(gaps) <= bound + 1e-12
    if rho > 1:
        assert max(gaps) > 0.5 * bound  # the adversary comes near, so the bound is no empty promise


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1), st.booleans()), min_size=2, max_size=60),
    st.floats(1.0, 3.0),
)
def test_the_lemma_holds_for_any_prices_and_any_grouping(rows, rho):
    item = np.array([r[0] for r in rows])
    log_price = np.array([r[1] for r in rows]) * np.log(rho) + item
    group = np.array([r[2] for r in rows], dtype=float)
    assert abs(within_gap(log_price, group, item)) <= np.log(rho) + 1e-9


@pytest.mark.parametrize("rho", [0.99, np.nan, np.inf, -1.0])
def test_a_width_that_is_none_is_refused(rho):
    with pytest.raises(ConfigError, match="rho"):
        fairness.optimal_corridor(sample()[0], rho)


@pytest.mark.parametrize(
    "change",
    [
        {"asked": [[np.nan]]},
        {"asked": [[0.0]]},
        {"b": [[0.0]]},
        {"b": [[-1.0]]},
        {"cost": [np.inf]},
        {"outside": 0.0},
        {"weight": [-1.0]},
        {"weight": [0.0]},
        {"asked": np.zeros((0, 1))},
        {"a": [[np.inf]]},
    ],
)
def test_a_broken_sample_is_refused(change):
    good = {"asked": [[0.9]], "a": [[1.0]], "b": [[4.0]], "cost": [0.5]}
    with pytest.raises(DataError):
        fairness.population(**{**good, **change})


def test_contradictory_bounds_are_refused():
    with pytest.raises(DataError, match="lo, hi"):
        fairness.optimal_corridor(sample()[0], 1.1, lo=1.0, hi=0.9)


def test_extreme_slopes_neither_overflow_nor_give_nan():
    steep = fairness.population([[0.9]], [[1e4]], [[1e5]], [0.5])
    corridor = fairness.optimal_corridor(steep, 1.1)
    assert np.isfinite(corridor.low).all()
    assert np.isfinite(corridor.profit).all()
