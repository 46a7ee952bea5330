"""A policy that allows prices above list: what was allowed is no breach, and one unit more is, in every check."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.evaluation.behaviour_gate import behaviour_gates
from fairtag.evaluation.fairness_gate import guarantees_gate
from fairtag.model.pricing_model import PricingModel
from fairtag.page.held_out import ShadowPage
from fairtag.page.priced_page import PricedPage
from fairtag.page.pricing import PageInputs, price_page, search
from fairtag.page.quote_rows import quote_frame, quote_record
from fairtag.policy.context import UserContext
from fairtag.search.query import SearchQuery

EPOCH = 20_620
TS = pd.Timestamp("2026-06-16", tz="UTC")
MARKUP = 0.10


@pytest.fixture(scope="module")
def marked_up(model):
    """The model under a policy with a markup, in a market where customers hardly mind the price."""
    limits = replace(model.policy.limits, discount_only=False, max_markup=MARKUP, corridor_ratio=2.0)
    correction = replace(model.demand.correction, scale=model.demand.correction.scale * 0.2)
    policy = replace(model.policy, limits=limits, exploration=0.0, confidence=0.0)
    return replace(model, policy=policy, demand=replace(model.demand, correction=correction))


@pytest.fixture(scope="module")
def page(marked_up: PricingModel):
    query = marked_up.encoder.encode(["oak bookcase white"], "query")[0]
    rows = search(marked_up, SearchQuery("oak bookcase white"), query, UserContext(), 12).rows
    return price_page(marked_up, PageInputs(rows, query, UserContext(), EPOCH))


def shadow(page: PricedPage) -> ShadowPage:
    return ShadowPage("p", "u1", TS, None, pd.DataFrame(), page)


def log(page: PricedPage) -> pd.DataFrame:
    return quote_frame([quote_record(page, quote_id="q", ts=TS.value // 1_000, task="search", user_key="k")])


def test_prices_rise_above_list_and_never_above_the_markup(page):
    ratio = np.array([item.price_minor / item.list_price_minor for item in page.items])
    assert (ratio > 1).any()
    assert (ratio <= 1 + MARKUP + 1e-9).all()


def test_gate_and_promises_judge_by_the_ceiling_of_the_mode(page, model, marked_up):
    assert behaviour_gates(marked_up, [shadow(page)], [])[0].status == "pass"
    assert guarantees_gate([log(page)], marked_up.policy.limits).status == "pass"
    assert behaviour_gates(model, [shadow(page)], [])[0].status == "fail"
    strict = guarantees_gate([log(page)], model.policy.limits)
    assert strict.status == "fail"
    assert "list" in strict.note


def test_one_unit_above_the_ceiling_of_the_mode_is_a_breach(page, marked_up):
    item = page.items[0]
    most = int(item.list_price_minor * (1 + MARKUP) + 1e-6)
    over = item._replace(price_minor=most + 1, high_minor=most + 1)
    broken = replace(page, items=(over, *page.items[1:]))
    assert behaviour_gates(marked_up, [shadow(broken)], [])[0].status == "fail"
    gate = guarantees_gate([log(broken)], marked_up.policy.limits)
    assert gate.status == "fail"
    assert "list: 1" in gate.note
    assert log(broken)[schema.PRICE_MINOR].iloc[0] == most + 1
