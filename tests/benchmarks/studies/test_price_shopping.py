"""The attack on prices: what it counts as a gain, on a small shop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.studies import price_shopping
from benchmarks.studies.price_shopping import Shop, attack, compositions, gain_rows
from fairtag.base import schema
from fairtag.model.pricing_model import load_pricing_model
from fairtag.policy.context import UserContext


@pytest.fixture(scope="module")
def shop(model_folder, market):
    model = load_pricing_model(model_folder)
    users = tuple(price_shopping._customers(market.tables, model, 3))
    return Shop(model, market, users, tuple(sorted(set(market.tables.judgements[schema.QUERY]))[:6]))


def test_every_composition_holds_the_item_once(shop):
    vectors = shop.model.encoder.encode(list(shop.queries), "query")
    rng = np.random.default_rng(0)
    pages = list(compositions(shop.model, 5, vectors[0], vectors, rng))
    assert len(pages) == price_shopping.COMPOSITIONS
    assert all((rows == 5).sum() == 1 and len(set(rows.tolist())) == len(rows) for rows, _ in pages)


def test_a_gain_is_counted_by_lever_and_everything_gains_most(shop, monkeypatch):
    vectors = shop.model.encoder.encode(list(shop.queries), "query")

    def price(_model, rows, _vector, user, _item):
        if user.opted_out:
            return 90
        return 95 if len(rows) == 1 else 100

    monkeypatch.setattr(price_shopping, "_price", price)
    found = attack(
        shop, UserContext("u", {"recency_days": 1.0}), shop.queries[0], vectors[0], vectors, np.random.default_rng(0)
    )
    assert found == pytest.approx(
        {"consent": 0.1, "place": 0.0, "login": 0.0, "fresh_accounts": 0.0, "page_composition": 0.05, "everything": 0.1}
    )


@pytest.mark.slow
def test_only_exploration_leaves_an_attacker_anything(shop, monkeypatch):
    """Nine honest prices say little about the mean of a draw; without draws nothing is left at all."""
    monkeypatch.setattr(price_shopping, "ITEMS", 3)
    still = replace(shop.model, policy=replace(shop.model.policy, exploration=0.0))
    assert {row.value for row in gain_rows(replace(shop, model=still))} == {0.0}
