"""One item, one epoch, several models: their prices together stay within rho of each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairtag.base.types import Reason
from fairtag.page.day_corridor import whole_corridor
from fairtag.policy.guardrails import GuardrailLimits, price_bounds, project

RHO = 1.25


@st.composite
def epochs(draw):
    """A list price, two models' corridors and policies, and who asks which of them for what price, in order."""
    listed = draw(st.floats(1.0, 500.0))
    lows = [listed * draw(st.floats(0.4, 1.0)) for _ in range(2)]
    policies = [
        GuardrailLimits(
            min_margin=0.0,
            max_discount=1.0,
            corridor_ratio=draw(st.floats(1.0, 1.6)),
            max_decrease=draw(st.none() | st.floats(0, 0.3)),
            competitor_above=draw(st.none() | st.floats(0, 0.3)),
        )
        for _ in range(2)
    ]
    asked = draw(st.lists(st.tuples(st.integers(0, 1), st.floats(0.0, 600.0), st.floats(1.0, 600.0)), min_size=2))
    return listed, lows, policies, asked


def served(listed, low, limits, corridor, wish, previous):
    """A price of one customer, whatever demand wished, or nothing where only the fallback is left."""
    bounds = price_bounds(
        limits,
        list_price=listed,
        unit_cost=0.0,
        previous_price=previous,
        competitor_price=previous,
        corridor_low=low if corridor is None else corridor.low,
        corridor_high=np.nan if corridor is None else corridor.high,
    )
    return float(project([wish], bounds)[0])


@settings(max_examples=400, deadline=None, derandomize=True)
@given(epochs())
def test_two_models_in_one_epoch_keep_the_corridor_of_the_first(epoch):
    listed, lows, policies, asked = epoch
    first = asked[0][0]
    ratio = policies[first].corridor_ratio
    corridor = whole_corridor(np.array([lows[first]]), ratio, 100)
    prices = [served(listed, lows[m], policies[m], corridor, wish, previous) for m, wish, previous in asked]
    if corridor.low[0] <= np.floor(listed * 100 + 1e-6) / 100:  # else list itself lies below it: nothing is personal
        assert max(prices) <= ratio * min(prices) * (1 + 1e-9)
    for model in (0, 1):
        own = [price for price, (m, _, _) in zip(prices, asked, strict=True) if m == model]
        if own and corridor.low[0] <= listed - 0.01:
            assert max(own) <= policies[model].corridor_ratio * min(own) * (1 + 1e-9)


def test_each_in_its_own_corridor_they_would_not():
    limits = GuardrailLimits(min_margin=0.0, max_discount=1.0, corridor_ratio=RHO)
    apart = [served(100.0, 40.0, limits, None, 0.0, np.nan), served(100.0, 80.0, limits, None, 200.0, np.nan)]
    assert apart == [40.0, 100.0]
    shared = whole_corridor(np.array([40.0]), RHO, 100)
    together = [served(100.0, low, limits, shared, wish, np.nan) for low, wish in ((40.0, 0.0), (80.0, 200.0))]
    assert together == [40.0, 50.0]


def test_the_narrower_of_two_policies_binds_inside_the_corridor_of_the_wider():
    narrow = GuardrailLimits(min_margin=0.0, max_discount=1.0, corridor_ratio=1.1)
    shared = whole_corridor(np.array([40.0]), 1.5, 100)
    bounds = price_bounds(narrow, list_price=100.0, unit_cost=0.0, corridor_low=shared.low, corridor_high=shared.high)
    assert (bounds.lo[0], bounds.hi[0]) == (40.0, 44.0)
    wide = price_bounds(
        GuardrailLimits(min_margin=0.0, max_discount=1.0, corridor_ratio=2.0),
        list_price=100.0,
        unit_cost=0.0,
        corridor_low=shared.low,
        corridor_high=shared.high,
    )
    assert (wide.hi[0], wide.hi_reason[0]) == (60.0, Reason.FAIRNESS_CORRIDOR)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(0.005, 1e6), st.floats(1.0, 3.0), st.sampled_from([1, 100, 1_000]))
def test_a_corridor_in_whole_units_lies_inside_the_exact_one_and_keeps_rho(low, rho, unit):
    corridor = whole_corridor(np.array([low]), rho, unit)
    assert corridor.low[0] >= low - 1e-5
    assert corridor.low[0] - low <= 1 / unit + 1e-9
    assert corridor.high[0] <= rho * corridor.low[0] + 1e-5
    assert corridor.high[0] >= corridor.low[0] - 1e-9


@pytest.mark.parametrize("low", [np.nan, 0.0, -1.0])
def test_an_item_without_a_corridor_has_none(low):
    corridor = whole_corridor(np.array([low]), RHO, 100)
    assert np.isnan(corridor.low[0])
    assert np.isnan(corridor.high[0])
