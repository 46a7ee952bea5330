"""The price of an item depends on the item and the customer: not on the page, and never rises for what is known."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.page.pricing import PageInputs, price_page
from fairtag.page.problem import FAINT, page_problem
from fairtag.policy.context import UserContext
from fairtag.solver.page_solver import solve_pages

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


def test_confidence_is_the_share_of_posterior_draws_in_which_the_price_earns_more(model, rows, certain):
    problem = page_problem(certain(model), rows, None, UserContext())
    best, other = problem.solve(None), problem.bounds.fallback
    found = problem.confidence(None, best, other)
    _, b = model.demand.draws(rows, problem.price_similarity, None, n_draws=20_000, seed=3)
    net = problem.cost + problem.shadow + problem.competition
    gains = [(price / problem.r - net) * np.exp(-b * price / problem.r) for price in (best, other)]
    share = (gains[0] > gains[1]).mean(axis=0)
    asked = ~np.isnan(found)
    assert asked.any()
    np.testing.assert_allclose(found[asked], share[asked], atol=0.015)


def test_the_best_price_is_the_exact_solvers_on_a_page_of_one_item(model, rows, customer):
    for policy in (
        model.policy,
        replace(model.policy, anchor_weight=0.7),
        replace(model.policy, margin_weight=0.0, anchor_weight=1.0),
    ):
        user = customer(model)
        problem = page_problem(replace(model, policy=policy), rows, None, user)
        b = np.zeros(len(rows)) if policy.anchored else problem.slope(problem.behaviour)
        exact = solve_pages(
            np.full((len(rows), 1), FAINT),
            *(x[:, None] for x in (b, problem.cost, problem.anchor, problem.bounds.lo / problem.r)),
            (problem.bounds.hi / problem.r)[:, None],
            shadow=(problem.shadow + problem.competition)[:, None],
            margin_weight=policy.margin_weight,
            anchor_weight=policy.anchor_weight,
            menu=(problem.menu / problem.r[:, None])[:, None, :],
        )
        free = ~problem.listed & problem.on_sale
        assert free.any()
        found = problem.solve(problem.behaviour)
        np.testing.assert_allclose(found[free], (exact.y[:, 0] * problem.r)[free], rtol=1e-12)
        assert np.isnan(found[~problem.on_sale]).all()
        held = problem.listed & problem.on_sale
        np.testing.assert_array_equal(found[held], problem.bounds.fallback[held])
