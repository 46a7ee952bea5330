"""The encoder never sees what its evaluation holds out."""

from dataclasses import replace

import pytest

from fairtag.base import schema
from fairtag.data import load
from fairtag.data.splits import PRODUCT_SALT, QUERY_SALT, held_out, time_split
from fairtag.encoder.training_data import without_hold_out
from fairtag.simulator.shop_design import TINY


@pytest.fixture(scope="module")
def shop():
    return load("synthetic", None, seed=0, size=TINY)


def test_held_out_queries_products_and_days_are_not_learnt(shop):
    judgements, items, impressions = without_hold_out(shop)
    assert not held_out(judgements[schema.QUERY], QUERY_SALT).any()
    assert not held_out(items[schema.ITEM_ID], PRODUCT_SALT).any()
    assert impressions[schema.TS].max() < time_split(shop.impressions).hold_out_from
    assert 0 < len(judgements) < len(shop.judgements)
    assert 0 < len(items) < len(shop.latest_items())
    assert 0 < len(impressions) < len(shop.impressions)


def test_a_shop_without_judgements_or_impressions_gives_what_it_has(shop):
    judgements, items, impressions = without_hold_out(
        replace(shop, judgements=None, impressions=shop.impressions.iloc[:0])
    )
    assert judgements is None
    assert impressions is None
    assert len(items) > 0
