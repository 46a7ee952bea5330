"""What-if over a fitted model: it agrees with the model's own prices, and a limit that binds moves the price to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.drawing import waterfall
from console.pages.why import what_if
from fairtag.base.errors import RequestError
from fairtag.model.pricing_model import PricingModel, load_pricing_model
from fairtag.policy.context import UserContext

GUEST = UserContext()


@pytest.fixture(scope="module")
def model(model_folder: Path) -> PricingModel:
    return load_pricing_model(model_folder)


def test_no_change_changes_nothing(model):
    before, after = what_if(model, model.item_ids[0], GUEST, {})
    assert before == after
    assert before.base + sum(before.parts.values()) == before.price


def test_without_a_discount_and_a_corridor_every_item_is_at_list(model):
    for item in model.item_ids[:10]:
        _, after = what_if(model, item, GUEST, {"discount": 0.0, "corridor": 10.0})
        assert after.price == after.listed


def test_another_list_price_is_the_ceiling(model):
    before, after = what_if(model, model.item_ids[0], GUEST, {"list": float(model.market.list_price[0]) / 2})
    assert after.listed == pytest.approx(before.listed / 2, abs=1)
    assert after.price <= after.listed


def test_an_item_that_the_model_does_not_know_is_refused(model):
    with pytest.raises(RequestError):
        what_if(model, "nothing", GUEST, {})


def test_the_page_computes_the_what_if_of_its_fields(console, endpoint, model_folder: Path, model, monkeypatch):
    item = model.item_ids[0]
    monkeypatch.setattr(endpoint, "price", lambda *_: 900)
    monkeypatch.setattr(
        endpoint,
        "page",
        lambda request: {
            "currency": "EUR",
            "disclosure": None,
            "session_id": None,
            "items": [
                {
                    "item_id": item,
                    "title": "A thing",
                    "category": "tools",
                    "list_price_minor": 1_000,
                    "price_minor": 900,
                    "currency": "EUR",
                    "personalised": False,
                    "reasons": [],
                }
            ],
        },
    )
    explained = {
        "item_id": item,
        "title": "A thing",
        "list_price_minor": 1_000,
        "base_minor": 950,
        "price_minor": 900,
        "contributions_minor": {"stock": -50},
        "summary": "Below.",
    }
    monkeypatch.setattr(endpoint, "explanation", lambda request: {"items": [explained]})
    browser = console(model_folder=model_folder)
    assert "Change a field" in browser.see(f"/why?item={item}")
    assert "The model would" in browser.see(f"/why?item={item}&discount=0")
    assert "must be an amount in USD" in browser.see(f"/why?item={item}&cost=cheap", status=400)
    assert "must be an amount in USD" in browser.see(f"/why?item={item}&list=1,234", status=400)
    assert "must be above 0" in browser.see(f"/why?item={item}&list=0", status=400)
    assert "must be a number from 0 to 99" in browser.see(f"/why?item={item}&margin=-5", status=400)
    assert "must be a number from 0 to 100" in browser.see(f"/why?item={item}&discount=200", status=400)


def test_a_waterfall_leads_from_the_base_to_the_price():
    steps, listed = waterfall(1_000, {"market": 200, "stock": 0, "bounds": -300}, 900, {"market": "the market"}, 1_100)
    assert [(step.name, step.kind, step.minor) for step in steps] == [
        ("an item like this", "total", 1_000),
        ("the market", "up", 200),
        ("bounds", "down", -300),
        ("this price", "total", 900),
    ]
    base, up, down, price = steps
    assert up.x == pytest.approx(base.width)
    assert up.x + up.width == pytest.approx(100), "the highest level is the right edge"
    assert down.x == pytest.approx(price.width)
    assert price.width < listed < up.x + up.width
