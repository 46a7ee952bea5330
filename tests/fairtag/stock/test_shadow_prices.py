import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from fairtag.solver.page_solver import page_value, solve_pages
from fairtag.stock.shadow_prices import SLACKNESS, ageing_cost, shadow_prices


def draw_market(seed, pages=40, n=8, items=25, hi=1.8):
    rng = np.random.default_rng(seed)
    places = np.stack([rng.choice(items, n, replace=False) for _ in range(pages)])
    cost = rng.uniform(0.4, 0.8, items)[places]
    terms = (
        rng.normal(1, 1, (pages, n)),
        rng.uniform(2, 6, items)[places],
        cost,
        rng.uniform(0.8, 1.1, items)[places],
        cost * 1.05,
        np.full((pages, n), hi),
    )
    return terms, places, rng.uniform(1, 50, pages)


def demand_at(terms, places, traffic, mu, **options):
    q = solve_pages(*terms, shadow=mu[places], **options).q
    return np.bincount(places.ravel(), (traffic[:, None] * q).ravel(), minlength=len(mu))


def scarce_market(seed, tight=0.3, **options):
    terms, places, traffic = draw_market(seed, hi=4.0)  # high enough to ration any item
    free = demand_at(terms, places, traffic, np.zeros(25), **options)
    rng = np.random.default_rng(seed + 1)
    return terms, places, traffic, free * np.where(rng.random(25) < tight, rng.uniform(0.4, 0.95, 25), 1.5)


def test_one_item_gets_the_price_that_sells_its_stock():
    """Against bisection on the demand of the item alone."""
    terms = tuple(np.array([[x]]) for x in (1.0, 3.0, 0.5, 1.0, 0.5, 5.0))
    stock, traffic = 10.0, 100.0

    def excess(mu):
        return traffic * solve_pages(*terms, shadow=mu).q[0, 0] - stock

    got = shadow_prices(*terms, items=np.array([[0]]), stock=[stock], traffic=[traffic])
    assert got.converged
    assert got.mu[0] == pytest.approx(brentq(excess, 0, 3, xtol=1e-14), abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("anchor_weight", [0.0, 0.5])
def test_demand_meets_stock_and_slack_stock_costs_nothing(seed, anchor_weight):
    terms, places, traffic, stock = scarce_market(seed, anchor_weight=anchor_weight)
    got = shadow_prices(*terms, items=places, stock=stock, traffic=traffic, anchor_weight=anchor_weight)
    assert got.converged
    assert not got.short.any()
    assert (got.mu > 0).any()
    assert (np.abs(got.mu * got.slack) < SLACKNESS * stock).all()
    assert (got.demand <= stock * (1 + SLACKNESS)).all()
    again = demand_at(terms, places, traffic, got.mu, anchor_weight=anchor_weight)
    np.testing.assert_allclose(got.demand, again, rtol=1e-12)
    free = demand_at(terms, places, traffic, np.zeros(25), anchor_weight=anchor_weight)
    assert (free[got.mu > 0] > 0.5 * stock[got.mu > 0]).all()


def test_the_prices_are_the_best_that_keep_to_the_stock():
    """Against a general constrained optimiser on the primal problem, one page, three items."""
    a, b, cost = np.array([1.5, 1.0, 0.5]), np.array([3.0, 4.0, 2.5]), np.array([0.5, 0.6, 0.4])
    lo, hi = np.full(3, 0.4), np.full(3, 3.0)
    stock = np.array([12.0, 3.0, 40.0])
    got = shadow_prices(
        *(x[None] for x in (a, b, cost, cost, lo, hi)), items=np.array([[0, 1, 2]]), stock=stock, traffic=[100.0]
    )
    y = solve_pages(a, b, cost, cost, lo, hi, shadow=got.mu).y
    direct = minimize(
        lambda p: -float(page_value(p, a, b, cost)[0]),
        np.full(3, 1.2),
        bounds=np.c_[lo, hi].tolist(),
        constraints={"type": "ineq", "fun": lambda p: stock / 100 - page_value(p, a, b, cost)[1]},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert page_value(y, a, b, cost)[0] == pytest.approx(-direct.fun, abs=1e-9)
    np.testing.assert_allclose(y, direct.x, atol=1e-5)


def test_the_dual_meets_the_primal():
    terms, places, traffic, stock = scarce_market(3)
    got = shadow_prices(*terms, items=places, stock=stock, traffic=traffic)
    solution = solve_pages(*terms, shadow=got.mu[places])
    dual = traffic @ solution.value + got.mu @ stock
    primal = traffic @ page_value(solution.y, *terms[:3])[0]
    assert dual == pytest.approx(primal, rel=1e-9)


def test_newtons_steps_stay_few_where_almost_all_stock_is_scarce_and_items_compete():
    """The curvature counts what customers who are turned away buy instead; without that it took 56 steps."""
    terms, places, traffic, _ = scarce_market(11, tight=0.95)
    busy = (terms[0] + 3.0, *terms[1:])
    free = demand_at(busy, places, traffic, np.zeros(25))
    got = shadow_prices(*busy, items=places, stock=free * np.linspace(0.3, 0.8, 25), traffic=traffic)
    assert got.converged
    assert (got.mu > 0).sum() > 15
    assert got.iterations <= 12


def test_weights_by_item_price_the_stock_in_the_same_unit():
    """With w = r the objective is money; mu stays in units of r, so that mu * r is what a unit is worth."""
    terms, places, traffic, stock = scarce_market(4)
    reference = np.random.default_rng(0).uniform(5, 50, 25)
    got = shadow_prices(*terms, items=places, stock=stock, traffic=traffic, margin_weight=reference)
    assert got.converged
    r = reference[places]
    money = tuple(x * s for x, s in zip(terms, (1, 1 / r, r, r, r, r), strict=True))
    in_money = shadow_prices(*money, items=places, stock=stock, traffic=traffic)
    np.testing.assert_allclose(got.mu * reference, in_money.mu, rtol=1e-6, atol=1e-7)


def test_plenty_costs_nothing():
    terms, places, traffic = draw_market(5)
    for stock in (np.inf, np.nan, 1e9):
        got = shadow_prices(*terms, items=places, stock=np.full(25, stock), traffic=traffic)
        assert got.converged
        assert got.iterations == 0
        assert (got.mu == 0).all()


def test_an_item_that_no_allowed_price_can_ration_is_short():
    terms, places, traffic = draw_market(6, hi=1.0)
    free = demand_at(terms, places, traffic, np.zeros(25))
    stock = np.where(np.arange(25) == 7, 0.01 * free, np.inf)
    got = shadow_prices(*terms, items=places, stock=stock, traffic=traffic)
    assert got.short.nonzero()[0].tolist() == [7]
    assert got.demand[7] > stock[7]
    assert got.mu[7] == pytest.approx(1.0 - terms[2][places == 7].min())  # all the margin of the highest price
    assert got.converged
    prices = solve_pages(*terms, shadow=got.mu[places]).y
    assert (prices[places == 7] == 1.0).all()  # the highest price there is


def test_sold_out_items_are_not_shown_and_empty_places_do_not_count():
    terms, places, traffic = draw_market(7)
    stock = np.full(25, np.inf)
    stock[3] = 0.0
    got = shadow_prices(*terms, items=places, stock=stock, traffic=traffic)
    assert got.demand[3] == 0
    assert got.mu[3] == 0
    emptied = places.copy()
    emptied[:, 0] = -1
    fewer = shadow_prices(*terms, items=emptied, stock=np.full(25, np.inf), traffic=traffic)
    q = solve_pages(*(x[:, 1:] for x in terms)).q
    expected = np.bincount(places[:, 1:].ravel(), (traffic[:, None] * q).ravel(), minlength=25)
    np.testing.assert_allclose(fewer.demand, expected, rtol=1e-12)


def test_all_items_out_of_stock_and_no_pages_have_no_demand():
    terms, places, traffic = draw_market(8)
    got = shadow_prices(*terms, items=places, stock=np.zeros(25), traffic=traffic)
    assert got.converged
    assert (got.demand == 0).all()
    none = shadow_prices(
        *(np.zeros((0, 3)) for _ in range(6)), items=np.zeros((0, 3), int), stock=[1.0, 2.0], traffic=np.zeros(0)
    )
    assert none.converged
    assert (none.demand == 0).all()


def test_an_item_twice_on_a_page_shares_its_stock():
    terms = tuple(np.array([[x, x]]) for x in (1.0, 3.0, 0.5, 1.0, 0.5, 5.0))
    got = shadow_prices(*terms, items=np.array([[0, 0]]), stock=[10.0], traffic=[100.0])
    assert got.converged
    assert got.demand[0] == pytest.approx(10.0, rel=1e-6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0.3, 0.9))
def test_scarcer_stock_never_makes_a_unit_cheaper(seed, share):
    terms, places, traffic, stock = scarce_market(seed)
    item = int(np.argmin(stock))
    less = stock.copy()
    less[item] *= share
    before = shadow_prices(*terms, items=places, stock=stock, traffic=traffic)
    after = shadow_prices(*terms, items=places, stock=less, traffic=traffic)
    assert before.converged
    assert after.converged
    assert after.mu[item] >= before.mu[item] - 1e-7


def test_a_demand_that_jumps_is_reported_and_not_hidden():
    """With a strong anchor a dear unit is best not sold at all: the price leaps, and no mu sells a fifth of it."""
    terms = tuple(np.array([[x]]) for x in (1.0, 3.0, 0.4, 0.9, 0.45, 4.0))
    sold = [float(solve_pages(*terms, shadow=mu, anchor_weight=1.0).q[0, 0]) for mu in np.linspace(0, 3.6, 400)]
    jump = int(np.argmin(np.diff(sold)))
    stock = (sold[jump] + sold[jump + 1]) / 2
    assert sold[jump] - sold[jump + 1] > 0.1 * stock
    got = shadow_prices(*terms, items=np.array([[0]]), stock=[stock], traffic=[1.0], anchor_weight=1.0)
    assert not got.converged
    assert got.demand[0] != pytest.approx(stock, rel=0.01)


@pytest.mark.parametrize("seed", range(30))
def test_it_converges_on_markets_of_every_shape(seed):
    """Few and many pages and items, tight and wide bounds, wild traffic, stock down to a hundredth of demand."""
    rng = np.random.default_rng(seed)
    pages, n, items = int(rng.integers(1, 60)), int(rng.integers(1, 12)), int(rng.integers(12, 60))
    places = np.stack([rng.choice(items, n, replace=False) for _ in range(pages)])
    cost = rng.uniform(0.3, 0.8, items)[places]
    lo = cost * rng.uniform(1, 1.4)
    terms = (
        rng.normal(rng.uniform(-2, 3), 1.5, (pages, n)),
        rng.uniform(1, 7, items)[places],
        cost,
        cost,
        lo,
        np.maximum(lo, rng.choice([1.0, 1.3, 4.0])),
    )
    traffic = rng.lognormal(0, 2, pages)
    free = demand_at(terms, places, traffic, np.zeros(items))
    stock = free * np.where(rng.random(items) < rng.random(), rng.uniform(0.01, 0.99, items), 1.5)
    got = shadow_prices(*terms, items=places, stock=stock, traffic=traffic)
    assert got.converged
    fine = ~got.short
    assert (got.demand <= stock * (1 + SLACKNESS))[fine].all()
    assert (got.mu >= 0).all()


def test_ageing_stock_counts_at_what_it_still_fetches():
    cost, ageing = ageing_cost(
        [10.0, 10.0, 10.0, 10.0, 10.0], [4.0, 4.0, 12.0, np.nan, -1.0], [50, 20, 50, 50, 50], [30, 30, 30, 30, 30]
    )
    assert cost.tolist() == [4.0, 10.0, 10.0, 10.0, -1.0]
    assert ageing.tolist() == [True, False, False, False, True]


def test_ageing_stock_is_priced_lower_until_scarcity_takes_over():
    cost, _ = ageing_cost(0.6, 0.2, 50.0, 30.0)
    fresh, old = (solve_pages(1.0, 3.0, c, 1.0, 0.1, 3.0).y[0] for c in (0.6, cost))
    assert old < fresh
    terms = tuple(np.array([[x]]) for x in (1.0, 3.0, float(cost), 1.0, 0.1, 3.0))
    scarce = shadow_prices(*terms, items=np.array([[0]]), stock=[5.0], traffic=[100.0])
    assert scarce.mu[0] > 0
