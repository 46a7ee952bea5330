from dataclasses import replace

import numpy as np
import pytest

from fairtag.base.money import currency
from fairtag.page.explanation import DRIVERS, PageDrivers, coalition_prices, coalitions, explain_prices
from fairtag.page.explanation_words import WORDS, summary, whole_parts
from fairtag.policy.guardrails import GuardrailLimits, close_empty_menus, price_bounds, price_menu
from fairtag.solver.page_solver import solve_pages


def draw_page(seed=0, n=24, *, endings=True, anchor_weight=0.0):
    rng = np.random.default_rng(seed)
    limits = GuardrailLimits(min_margin=0.05, max_discount=0.4, endings=(49, 99), ending_period=100)
    listed = rng.uniform(10, 80, n)
    cost = listed * rng.uniform(0.3, 0.7, n)
    reference = listed * rng.uniform(0.9, 1.1, n)
    bounds = price_bounds(limits, list_price=listed, unit_cost=cost)
    bounds, menu = close_empty_menus(bounds, price_menu(bounds, limits))
    return PageDrivers(
        f=listed * rng.uniform(0.7, 1.2, n),
        reference=reference,
        a=rng.normal(0.5, 1, n),
        b=rng.uniform(2, 5, n),
        a_intent=rng.normal(0, 0.5, n),
        b_intent=rng.normal(0, 0.3, n),
        a_behaviour=np.full(n, 0.1),
        b_behaviour=rng.normal(0, 0.2, n),
        cost=cost,
        stock_cost=cost + np.where(rng.random(n) < 0.2, 0.15 * listed, 0.0),
        competition=listed * rng.uniform(0.05, 0.15, n),
        bounds=bounds,
        menu=menu if endings else None,
        limits=limits,
        anchor_weight=anchor_weight,
        least_slope=0.2,
    )


def served_directly(page):
    """Each item alone beside its page value, one after the other."""
    r = page.reference
    b = np.maximum(page.b + page.b_intent + page.b_behaviour, page.least_slope)
    cost = (page.stock_cost + page.competition) / r
    return r * np.concatenate(
        [
            solve_pages(
                [-50.0],
                b[i : i + 1],
                cost[i],
                page.f[i] / r[i],
                page.bounds.lo[i] / r[i],
                page.bounds.hi[i] / r[i],
                margin_weight=page.margin_weight,
                anchor_weight=page.anchor_weight,
                menu=None if page.menu is None else page.menu[i] / r[i],
            ).y
            for i in range(len(r))
        ]
    )


@pytest.mark.parametrize("endings", [True, False])
@pytest.mark.parametrize("anchor_weight", [0.0, 0.5])
@pytest.mark.parametrize("n", [1, 24])
def test_contributions_lead_from_f_to_the_served_price(n, anchor_weight, endings):
    page = draw_page(n=n, endings=endings, anchor_weight=anchor_weight)
    found = explain_prices(page)
    np.testing.assert_allclose(found.base, page.f, rtol=1e-14)
    np.testing.assert_array_equal(found.price, served_directly(page))
    np.testing.assert_allclose(found.contributions.sum(0), found.price - found.base, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(coalition_prices(page, np.ones((1, len(DRIVERS)), bool))[0], found.price)


def test_a_driver_that_adds_nothing_to_the_page_explains_nothing():
    page = draw_page()
    none = np.zeros(24)
    same = replace(
        page, a_intent=none, b_intent=none, stock_cost=page.cost, a_behaviour=none, b_behaviour=none, menu=None
    )
    found = explain_prices(same)
    for driver in ("intent", "behaviour", "stock", "rounding"):
        np.testing.assert_array_equal(found.contributions[DRIVERS.index(driver)], 0.0)
    for driver in ("market", "competition", "bounds"):
        assert np.abs(found.contributions[DRIVERS.index(driver)]).max() > 0.01


def test_scarce_stock_raises_and_price_sensitivity_lowers_a_price_alone_on_its_page():
    page = draw_page(n=1, endings=False)
    wide = replace(page.bounds, lo=page.bounds.lo * 0, hi=page.bounds.hi * 10)
    page = replace(
        page,
        competition=np.zeros(1),
        bounds=wide,
        stock_cost=page.cost * 1.2,
        b_behaviour=np.array([1.0]),
        a_behaviour=np.zeros(1),
        a_intent=np.array([1.0]),
        b_intent=np.zeros(1),
    )
    effect = explain_prices(page).of(0)
    assert effect["stock"] > 0
    assert effect["behaviour"] < 0
    assert effect["intent"] > 0


def test_a_decision_after_the_solver_is_an_eighth_driver():
    page = draw_page()
    served = page.bounds.fallback
    found = explain_prices(page, served)
    assert found.drivers == (*DRIVERS, "decision")
    np.testing.assert_allclose(found.contributions.sum(0), served - page.f, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found.contributions[-1], served - explain_prices(page).price)


def test_every_coalition_has_a_price_inside_what_it_obeys():
    page = draw_page()
    at_work = coalitions(len(DRIVERS))
    prices = coalition_prices(page, at_work)
    assert np.isfinite(prices).all()
    bounded = at_work[:, DRIVERS.index("bounds")]
    assert (prices[bounded] >= page.bounds.lo - 1e-9).all()
    assert (prices[bounded] <= page.bounds.hi + 1e-9).all()
    rounded = at_work[:, DRIVERS.index("rounding")]
    cents = np.rint(prices[rounded] * 100) % 100
    assert np.isin(cents, (49, 99)).all()


def test_an_item_that_has_to_be_at_list_is_explained_too():
    page = draw_page()
    bounds = price_bounds(page.limits, list_price=np.full(24, 20.0), unit_cost=np.r_[25.0, np.full(23, 8.0)])
    bounds, menu = close_empty_menus(bounds, price_menu(bounds, page.limits))
    found = explain_prices(replace(page, bounds=bounds, menu=menu))
    assert found.price[0] == pytest.approx(20.0)
    assert found.contributions[:, 0].sum() == pytest.approx(20.0 - page.f[0], abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_whole_parts_add_up_and_each_is_within_a_minor_unit(seed):
    rng = np.random.default_rng(seed)
    parts = dict(zip(DRIVERS, rng.normal(0, 300, len(DRIVERS)), strict=True))
    base = rng.uniform(500, 5_000)
    price = base + sum(parts.values())
    whole = whole_parts(parts, round(price) - round(base))
    assert sum(whole.values()) == round(price) - round(base)
    assert all(abs(whole[name] - value) < 1.5 for name, value in parts.items())
    assert all(isinstance(value, int) for value in whole.values())


def test_a_summary_speaks_in_words_and_in_the_digits_of_the_currency():
    parts = {"behaviour": 0, "bounds": 12, "rounding": -3}
    assert summary(1_200, 1_200, 1_191, parts, currency("JPY")) == (
        "The list price of 1,200 JPY. An item like this costs 1,191 JPY; the limit of the shop adds 12 JPY; "
        "the price ending takes 3 JPY."
    )
    assert summary(1_300, 1_200, 1_300, {}, currency("EUR")).startswith("1.00 EUR above the list price of 12.00 EUR.")
    assert set(WORDS) == {*DRIVERS, "decision"}, "every driver has words"
