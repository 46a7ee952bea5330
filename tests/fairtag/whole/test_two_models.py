"""Two model folders in one price epoch: inside the corridor of whichever priced an item first, they keep rho
together."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.fairness.invariants import check_invariants, violations
from fairtag.page.day_corridor import own_corridor
from fairtag.page.pricing import PageInputs, explain_page, price_page
from fairtag.page.quote_rows import quote_frame, quote_record
from fairtag.policy.context import UserContext
from fairtag.policy.disclosure import read_disclosures

EPOCH = 20_620
TS = pd.Timestamp("2026-06-16", tz="UTC")
RHO = 1.25


@pytest.fixture(scope="module")
def rows(model):
    return np.arange(24)


@pytest.fixture(scope="module")
def models(model):
    """A cheap one and a dear one: their corridors stand apart, and each would use all of its own."""
    limits = replace(model.policy.limits, max_discount=0.6, min_margin=0.0, corridor_ratio=RHO, endings=())
    policy = replace(model.policy, limits=limits, exploration=1.0, confidence=0.0)
    listed = model.market.list_price
    return [
        replace(
            model,
            policy=policy,
            manifest={**model.manifest, "version": name},
            estimates=replace(model.estimates, corridor_low=share * listed),
        )
        for name, share in (("cheap", 0.55), ("dear", 0.8))
    ]


def log_of(models, rows, corridor):
    """Both models price the rows for several customers, turn by turn; exploration moves prices over all they may be."""
    quotes = []
    for number in range(12):
        model = models[number % 2]
        who = UserContext(user_id=f"u{number}", jurisdiction="US-NY")
        page = price_page(model, PageInputs(rows, None, who, EPOCH, corridor=corridor))
        quotes.append(
            quote_record(page, quote_id=f"q{number}", ts=TS.value // 1_000, task="search", user_key=f"k{number}")
        )
    return quote_frame(quotes)


def ratio_of(log):
    price = log.groupby(schema.ITEM_ID)[schema.PRICE_MINOR]
    return price.max() / price.min()


def corridor_breaches(log):
    found = violations(check_invariants(log, rho=RHO, disclosures=read_disclosures()))
    return {breach.rule for breach in found}


@pytest.mark.parametrize("first", [0, 1])
def test_in_the_corridor_of_the_epoch_two_models_keep_rho(models, rows, first):
    corridor = own_corridor(models[first], rows)
    log = log_of(models, rows, corridor)
    assert ratio_of(log).max() <= RHO + 1e-9
    assert ratio_of(log).max() > 1.05, "prices differ, so that keeping the corridor was work"
    assert not corridor_breaches(log)


def test_each_in_its_own_they_break_it_and_the_monitors_say_so(models, rows):
    log = log_of(models, rows, None)
    assert ratio_of(log).max() > RHO
    assert corridor_breaches(log) == {"corridor"}


def test_a_lock_from_before_the_corridor_was_fixed_is_held_inside_it(models, rows):
    cheap, dear = models
    corridor = own_corridor(cheap, rows)
    locked = dear.market.list_price[rows].copy()
    page = price_page(dear, PageInputs(rows, None, UserContext(), EPOCH, corridor=corridor, locked_price=locked))
    assert [item.price_minor for item in page.items] == np.rint(100 * corridor.high).astype(int).tolist()


def test_an_explanation_under_the_corridor_of_the_epoch_adds_up_to_its_price(models, rows):
    corridor = own_corridor(models[0], rows)
    page = price_page(models[1], PageInputs(rows, None, UserContext(), EPOCH, corridor=corridor))
    told = explain_page(models[1], PageInputs(rows, None, UserContext(), EPOCH, corridor=corridor))
    assert [entry["price_minor"] for entry in told] == [item.price_minor for item in page.items]
