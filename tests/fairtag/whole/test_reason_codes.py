"""Every reason code is one that a priced page can carry: each is brought about once, end to end."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fairtag.base import schema
from fairtag.base.types import Reason
from fairtag.model.capabilities import SEARCH, UNIFORM_PRICES
from fairtag.model.pricing_model import PricingModel
from fairtag.page.priced_page import PricedPage
from fairtag.page.pricing import PageInputs, price_page
from fairtag.policy.context import UserContext
from fairtag.policy.experiments import Assignment
from fairtag.policy.shop_policy import ShopPolicy

EPOCH = 20_620
DAYS = {"starts": "2026-01-01", "ends": "2026-12-31"}
ROWS = np.arange(80)
KEEN = {schema.RECENCY_DAYS: 2.0, schema.ORDERS_90D: 9.0, schema.SPEND_90D: 900.0, schema.PROMOTION_RESPONSE: 0.0}
THRIFTY = {schema.RECENCY_DAYS: 80.0, schema.ORDERS_90D: 0.0, schema.SPEND_90D: 0.0, schema.PROMOTION_RESPONSE: 1.0}


def with_policy(model: PricingModel, **changes: object) -> PricingModel:
    limits = {name: changes.pop(name) for name in tuple(changes) if hasattr(model.policy.limits, name)}
    base = {"exploration": 0.0, "confidence": 0.0, **changes}
    return replace(model, policy=replace(model.policy, limits=replace(model.policy.limits, **limits), **base))


def pages(model: PricingModel) -> Iterator[PricedPage]:
    """Pages that between them show every code."""
    sure, market = with_policy(model), model.market.rows(ROWS)
    nothing, dear = np.zeros(ROWS.size), np.full(ROWS.size, 1e3)

    def priced(by: PricingModel, user: UserContext, **given: object) -> PricedPage:
        return price_page(by, PageInputs(ROWS, None, user, EPOCH, **given))

    posterior = model.demand.posterior
    vague = replace(posterior, factor=30 * posterior.factor, conditional=30 * posterior.conditional)
    doubtful = with_policy(replace(model, demand=replace(model.demand, posterior=vague)), confidence=0.99)
    keen, thrifty = (UserContext("u", behaviour, jurisdiction="US-NY") for behaviour in (KEEN, THRIFTY))
    yield priced(sure, keen)
    yield priced(sure, thrifty)
    for intent in (model.embeddings[ROWS[0]], -model.embeddings[ROWS[0]]):  # close to one item, and far from all
        yield price_page(with_policy(model, similarity_in_price=True), PageInputs(ROWS, intent, keen, EPOCH))
    yield priced(sure, replace(keen, opted_out=True))
    yield priced(sure, replace(keen, jurisdiction=None))
    yield priced(with_policy(model, exploration=1.0), thrifty)
    yield priced(doubtful, thrifty)
    yield priced(with_policy(model, anchor_weight=5.0), thrifty)
    rival = replace(market, competitor_price=1.1 * model.estimates.corridor_low[ROWS])
    yield priced(with_policy(model, competitor_above=0.02, competitor_below=0.02), keen, market=rival)
    shown = 1.1 * model.estimates.corridor_low[ROWS]
    yield priced(with_policy(model, max_increase=0.02, max_decrease=0.02), keen, previous_price=shown)
    yield priced(with_policy(model, competitor_above=0.0), keen)
    yield priced(with_policy(model, max_discount=1.0, min_margin=0.5, corridor_ratio=9.0), thrifty)
    cheap = replace(market, unit_cost=0.4 * 1.1 * model.estimates.corridor_low[ROWS])
    yield priced(with_policy(model, max_discount=1.0, min_margin=0.6), thrifty, market=cheap)
    yield priced(
        with_policy(model, max_discount=1.0), thrifty, market=replace(market, map_price=0.97 * market.list_price)
    )
    yield priced(sure, keen, market=replace(market, unit_cost=2 * market.list_price))
    costless = replace(sure, catalogue=model.catalogue.assign(unit_cost=np.nan))
    yield priced(costless, keen)
    pinned, excluded = ({"item": model.item_ids[0], "price": 1.0}, {"items": [model.item_ids[1]]})
    sale = {"name": "sale", "cut": 0.05, "items": list(model.item_ids[2:40]), **DAYS}
    named = ShopPolicy().changed(pins=[pinned], exclusions=excluded, promotions=[sale])
    yield priced(sure, keen, policy=named, list_only=True)
    yield priced(sure, keen, policy=ShopPolicy().changed(personal_prices={"allowed": False}))
    yield priced(replace(sure, capabilities=frozenset({SEARCH})), keen)
    yield priced(replace(sure, capabilities=frozenset({SEARCH, UNIFORM_PRICES})), keen)
    scarce = replace(sure, estimates=replace(model.estimates, shadow=0.2 * model.market.list_price))
    yield priced(scarce, keen)
    yield priced(sure, keen, market=replace(market, stock=dear, salvage_value=nothing, shelf_life_days=nothing + 1))
    yield priced(sure, keen, arm=Assignment("a test", "list", "list"))


def test_every_code_occurs_on_some_page(model):
    seen = {reason for page in pages(model) for item in page.items for reason in item.reasons}
    assert seen == set(Reason)


def test_no_item_is_without_a_reason_or_says_one_twice(model):
    for page in pages(model):
        for item in page.items:
            assert item.reasons
            assert len(set(item.reasons)) == len(item.reasons)
