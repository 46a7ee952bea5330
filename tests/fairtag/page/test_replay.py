"""A page priced again from its record alone: the same bits, after a trip through JSON, or the items that differ."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest

from fairtag.base.errors import DataError
from fairtag.page.chosen_prices import choose_prices
from fairtag.page.problem import page_problem
from fairtag.page.replay import page_record, replay, solver_inputs
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.solver.page_solver import solve_pages

N = 40


class Demand:
    """Demand drawn once, with a posterior around it; some categories may not be priced."""

    def __init__(self, seed, spread):
        rng = np.random.default_rng(seed)
        self.a, self.b = rng.normal(4, 1, N), rng.uniform(5, 12, N)
        self.spread = spread
        self.standard = SimpleNamespace(similarity=0.5)

    def page(self, rows, similarity, behaviour=None, personalise=True):
        return self.a[rows] + similarity, self.b[rows]

    def draws(self, rows, similarity, behaviour, n_draws, seed):
        noise = np.random.default_rng(seed).normal(0, self.spread, (2, n_draws, len(rows)))
        a, b = self.page(rows, similarity, behaviour)
        return a + noise[0], np.maximum(b + noise[1], 0.1)

    def priceable(self, rows):
        return rows % 11 != 0


def model(seed=0, spread=0.002, **policy):
    rng = np.random.default_rng(seed)
    listed = np.round(rng.uniform(10, 90, N), 2)
    absent = np.full(N, np.nan)
    market = MarketContext(
        listed, listed * 0.5, absent, absent, absent, np.where(np.arange(N) % 13, 9.0, 0.0), absent, absent
    )
    return SimpleNamespace(
        version="m1",
        item_ids=tuple(f"i{row}" for row in range(N)),
        policy=PricingPolicy(limits=GuardrailLimits(), **policy),
        market=market,
        reference=SimpleNamespace(
            f=listed * rng.uniform(0.8, 1.1, N),
            corridor_low=listed / 1.25,
            shadow=np.where(rng.random(N) < 0.2, 2.0, 0.0),
            sales_rate=np.full(N, 0.1),
        ),
        demand=Demand(seed, spread),
    )


def record_of(model_folder, *, rows=None, fixed=None, epoch=7):
    rows = np.arange(N) if rows is None else rows
    problem = page_problem(model_folder, rows, None, UserContext(), fixed_price=fixed)
    chosen = choose_prices(problem, seed=epoch)
    return page_record(problem, chosen, epoch=epoch), chosen


def through_json(record):
    return json.loads(json.dumps(record, allow_nan=False))


@pytest.mark.parametrize("anchor_weight", [0.0, 0.4])
def test_recorded_pages_are_priced_again_to_the_last_bit(anchor_weight):
    optimised = 0
    for seed in range(10):
        record, chosen = record_of(model(seed, anchor_weight=anchor_weight))
        again = replay(through_json(record))
        assert again.identical
        np.testing.assert_array_equal(again.price, chosen.price)
        optimised += not np.array_equal(chosen.price, record["fallback"])
    assert optimised >= 8  # pages at list throughout would replay whatever the solver did


def test_locked_prices_and_out_of_stock_items_replay_too():
    fixed = np.full(N, np.nan)
    fixed[[2, 5, 13]] = [11.23, 44.44, 7.0]
    record, _ = record_of(model(3), fixed=fixed)
    again = replay(through_json(record))
    assert again.identical
    np.testing.assert_array_equal(again.price[[2, 5, 13]], [11.23, 44.44, 7.0])
    assert again.price_minor[2] == 1_123


def test_a_page_served_at_list_for_want_of_confidence_replays_as_such():
    record, chosen = record_of(model(1, spread=4.0, confidence=0.999, exploration=0.0))
    assert chosen.confidence < 0.999
    again = replay(through_json(record))
    assert again.identical
    np.testing.assert_array_equal(again.price, record["fallback"])


def test_a_page_of_one_item_replays():
    assert replay(through_json(record_of(model(2), rows=np.array([3]))[0])).identical


def test_the_record_holds_the_solver_s_arguments_and_no_customer():
    record, _ = record_of(model(4))
    solution = solve_pages(**solver_inputs(through_json(record)))
    assert solution.converged.all()
    assert set(record) == {
        "schema", "model_version", "epoch", "minor_per_unit", "items", "solver", "r", "fallback", "fixed", "listed",
        "confidence", "explored", "price",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["a", "b", "cost", "margin_weight"])
def test_a_record_that_was_touched_is_found_out_with_the_items(name):
    record = through_json(record_of(model(5))[0])
    for place in range(N):
        record["solver"][name][place] *= 1.1 + 0.3 * (place % 3)
    again = replay(record)
    assert not again.identical
    assert set(again.changed) <= set(record["items"])


def test_a_price_that_was_touched_by_one_bit_is_found_out():
    record = through_json(record_of(model(6))[0])
    record["price"][7] = float(np.nextafter(record["price"][7], np.inf))
    assert replay(record).changed == ("i7",)


def spoilt(change):
    record = copy.deepcopy(through_json(record_of(model(7))[0]))
    change(record)
    return record


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(schema="other/1"),
        lambda r: r.pop("solver"),
        lambda r: r["solver"].pop("menu"),
        lambda r: r["solver"]["a"].pop(),
        lambda r: r["items"].pop(),
        lambda r: r["price"].pop(),
        lambda r: r.update(r=["nonsense"] * N),
        lambda r: r.update(confidence=None),
    ],
)
def test_a_broken_record_is_refused(change):
    with pytest.raises(DataError, match="record"):
        replay(spoilt(change))
