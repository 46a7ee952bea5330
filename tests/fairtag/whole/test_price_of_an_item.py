"""The price of an item depends on the item and the customer: not on the page, and never rises for what is known."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.page.day_corridor import DayCorridor
from fairtag.page.pricing import PageInputs, price_page
from fairtag.page.problem import page_problem
from fairtag.policy.context import UserContext
from fairtag.solver.page_solver import page_value

EPOCH = 20_620
BEHAVIOUR = {
    schema.RECENCY_DAYS: 3.0,
    schema.ORDERS_90D: 1.0,
    schema.SPEND_90D: 40.0,
    schema.PROMOTION_RESPONSE: 0.95,
}
SECRET = b"a secret of thirty-two bytes ...."


def by_item(page):
    return {item.item_id: item.price_minor for item in page.items}


def inputs(rows, query, user, **more):
    return PageInputs(rows, query, user, EPOCH, secret=SECRET, **more)


@pytest.mark.parametrize("exploration", [0.0, 0.5])
def test_no_page_and_no_query_changes_the_price_of_an_item(model, rows, query, customer, exploration):
    curious = replace(model, policy=replace(model.policy, exploration=exploration))
    other, rng = model.encoder.encode(["garden hose"], "query")[0], np.random.default_rng(1)
    for user in (customer(model), UserContext(jurisdiction="US-NY")):
        whole = by_item(price_page(curious, inputs(rows, query, user)))
        for _ in range(20):
            some = rng.permutation(np.union1d(rows, rng.integers(0, len(model.item_ids), 30)))[: rng.integers(1, 30)]
            page = price_page(curious, inputs(some, (query, other, None)[rng.integers(3)], user))
            shown = by_item(page)
            assert {item: shown[item] for item in shown.keys() & whole.keys()} == {
                item: whole[item] for item in shown.keys() & whole.keys()
            }


@pytest.mark.parametrize("response", [0.0, 0.5, 0.99])
def test_to_withhold_data_is_no_way_to_a_better_price(model, query, customer, certain, response):
    everything = np.arange(len(model.item_ids))
    for sure in (model, certain(model)):
        still = replace(sure, policy=replace(sure.policy, exploration=0.0))
        user = customer(still, behaviour={**BEHAVIOUR, schema.PROMOTION_RESPONSE: response})
        own = by_item(price_page(still, inputs(everything, query, user)))
        for other in (
            replace(user, opted_out=True),
            replace(user, jurisdiction="XX"),
            UserContext(jurisdiction="US-NY"),
            UserContext("fresh", jurisdiction="US-NY"),
        ):
            public = by_item(price_page(still, inputs(everything, query, other)))
            assert all(own[item] <= public[item] for item in own)
        assert response != 0.99 or sure is model or any(own[item] < public[item] for item in own)


def test_fresh_accounts_are_no_second_draw_and_known_customers_draw_for_themselves(model, query, customer):
    curious = replace(model, policy=replace(model.policy, exploration=1.0))
    rows = np.arange(60)
    guests = [UserContext(jurisdiction="DE"), UserContext("fresh-1", jurisdiction="DE"), UserContext("fresh-2")]
    assert len({tuple(by_item(price_page(curious, inputs(rows, query, user))).values()) for user in guests}) == 1
    known = [replace(customer(model), user_id=f"u{number}") for number in range(3)]
    assert len({tuple(by_item(price_page(curious, inputs(rows, query, user))).values()) for user in known}) == 3


def test_without_the_secret_nobody_can_foretell_a_draw(model, query):
    curious = replace(model, policy=replace(model.policy, exploration=1.0))
    rows, guest = np.arange(60), UserContext()
    pages = [price_page(curious, replace(inputs(rows, query, guest), secret=secret)) for secret in (SECRET, b"x" * 32)]
    assert by_item(pages[0]) != by_item(pages[1])
    assert SECRET.decode() not in repr(inputs(rows, query, guest))


def test_the_value_of_a_reference_page_is_that_of_a_real_page_of_its_category(model, certain):
    """The oracle: the page's own optimum, found by trying prices one at a time until none is better."""
    sure = certain(model)
    still = replace(sure, policy=replace(sure.policy, limits=replace(sure.policy.limits, endings=())))
    category = still.categories[0]
    rows = np.flatnonzero(still.categories == category)
    near = np.asarray(still.embeddings[rows])
    rows = rows[np.argsort(-(near @ near.mean(axis=0)), kind="stable")[:24]]
    rows = rows[page_problem(still, rows, None, UserContext()).bounds.feasible]
    corridor = DayCorridor(still.estimates.corridor_low[rows], np.full(len(rows), np.nan))
    problem = page_problem(still, rows, None, UserContext(), corridor=corridor)
    a, b = problem.demand
    weight = problem.r / problem.r.mean()
    rate = still.page_values[rows[0]] / problem.r.mean()
    best = np.clip(
        (problem.cost + problem.shadow + 1.0 / b + rate / weight),
        problem.bounds.lo / problem.r,
        problem.bounds.hi / problem.r,
    )
    value, _ = page_value(best, a, b, problem.cost, shadow=problem.shadow, margin_weight=weight)
    assert value == pytest.approx(rate, rel=1e-6), "given the value, each price is an optimum of its own"
    for step in (0.01, -0.01):
        for place in range(len(rows)):
            moved = best.copy()
            moved[place] = np.clip(
                moved[place] + step,
                problem.bounds.lo[place] / problem.r[place],
                problem.bounds.hi[place] / problem.r[place],
            )
            assert (
                page_value(moved, a, b, problem.cost, shadow=problem.shadow, margin_weight=weight)[0] <= value + 1e-12
            )
    assert (still.page_values > 0).any()
    anchored = replace(still, policy=replace(still.policy, margin_weight=0.0, anchor_weight=0.5))
    assert not anchored.page_values.any()


def test_confidence_is_the_share_of_posterior_draws_in_which_the_price_earns_more(model, rows, certain):
    problem = page_problem(certain(model), rows, None, UserContext())
    solved = problem.solve(None)
    best, other = solved.y * problem.r, problem.bounds.fallback
    found = problem.confidence(None, best, other)
    _, b = model.demand.draws(rows, problem.price_similarity, None, n_draws=20_000, seed=3)
    net = problem.cost + problem.shadow + problem.competition
    gains = [(price / problem.r - net) * np.exp(-b * price / problem.r) for price in (best, other)]
    share = (gains[0] > gains[1]).mean(axis=0)
    asked = ~np.isnan(found)
    assert asked.any()
    np.testing.assert_allclose(found[asked], share[asked], atol=0.015)
