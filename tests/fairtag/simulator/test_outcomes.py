"""Simulated answers to quoted pages: the planted choice probabilities, to the draw, and nothing later than now."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.pseudonym import user_key
from fairtag.simulator.outcomes import simulate_again, simulated_outcomes
from fairtag.simulator.shocks import elasticity_change
from fairtag.simulator.simulation import TINY, SimulatedShop, simulate_shop

SECRET = b"of this test and of nothing else"
NOON = pd.Timestamp("2026-07-01 12:00", tz="UTC")
UNTIL = NOON + pd.Timedelta(hours=1)
PAGES, SIZE = 4_000, 4


@pytest.fixture(scope="module")
def shop():
    return simulate_shop(TINY, seed=2)


@pytest.fixture(scope="module")
def quotes(shop):
    """One page over and over: the same customer, items in stock and prices, so that shares are probabilities."""
    items = shop.tables.latest_items()
    wish = shop.planted.wishes.text[3]
    fit = np.where(items[schema.STOCK].to_numpy() > 0, shop.planted.relevance([wish])[0], -1.0)
    rows = np.argsort(-fit)[:SIZE]
    listed = np.array([1_000, 2_000, 1_500, 800])
    return pd.DataFrame(
        {
            schema.QUOTE_ID: np.repeat([f"q{k}" for k in range(PAGES)], SIZE),
            schema.TS: NOON,
            schema.USER_KEY: user_key(shop.tables.latest_users()[schema.USER_ID][5], SECRET),
            schema.QUERY: wish,
            schema.ITEM_ID: np.tile(items[schema.ITEM_ID].to_numpy()[rows], PAGES),
            schema.LIST_PRICE_MINOR: np.tile(listed, PAGES),
            schema.PRICE_MINOR: np.tile((listed * [0.7, 0.8, 0.9, 0.65]).astype(np.int64), PAGES),
        }
    )


def draw(quotes, shop, **more):
    return simulated_outcomes(quotes, shop, SECRET, **{"seed": 0, "until": UNTIL, **more})


def planted_shares(quotes, shop, behaviour):
    page = quotes.head(SIZE)
    item = pd.Index(shop.tables.latest_items()[schema.ITEM_ID]).get_indexer(page[schema.ITEM_ID])
    similarity = shop.planted.relevance([page[schema.QUERY].iloc[0]])[0][item]
    ratio = (page[schema.PRICE_MINOR] / page[schema.LIST_PRICE_MINOR]).to_numpy()
    return shop.planted.demand(item[None], similarity[None], behaviour, ratio[None])[0]


def test_shares_are_the_planted_probabilities(quotes, shop):
    behaviour = shop.tables.latest_users()[list(schema.USER_PRICING_FEATURES)].to_numpy()[[5]]
    q = planted_shares(quotes, shop, behaviour)
    bought = draw(quotes, shop)[schema.ITEM_ID].value_counts().reindex(quotes[schema.ITEM_ID][:SIZE]).fillna(0)
    z = (bought.to_numpy() - PAGES * q) / np.sqrt(PAGES * q * (1 - q))
    assert np.abs(z).max() < 4
    assert 0.02 < q.sum() < 0.98


def test_a_stranger_has_no_personal_taste_and_an_unknown_wish_no_relevant_item(quotes, shop):
    strange = quotes.assign(**{schema.USER_KEY: None})
    q = planted_shares(quotes, shop, None).sum()
    bought = len(draw(strange, shop)) / PAGES
    assert abs(bought - q) < 4 * np.sqrt(q * (1 - q) / PAGES)
    assert len(draw(quotes.assign(**{schema.QUERY: "nothing of this shop"}), shop)) < len(draw(quotes, shop))


def test_one_item_a_page_at_the_quoted_price_no_later_than_now(quotes, shop):
    found = draw(quotes, shop)
    assert not found[schema.QUOTE_ID].duplicated().any()
    prices = quotes.set_index([schema.QUOTE_ID, schema.ITEM_ID])[schema.PRICE_MINOR]
    keys = pd.MultiIndex.from_frame(found[[schema.QUOTE_ID, schema.ITEM_ID]])
    assert (prices.loc[keys].to_numpy() == found[schema.PRICE_MINOR].to_numpy()).all()
    assert (found[schema.TS] >= NOON).all()
    assert (found[schema.TS] <= UNTIL).all()
    assert found[schema.TS].nunique() > 100


def test_what_is_out_of_stock_cannot_be_bought(quotes, shop):
    items = shop.tables.items.assign(**{schema.STOCK: 0.0})
    assert draw(quotes, SimulatedShop(dataclasses.replace(shop.tables, items=items), shop.planted)).empty


def test_equal_seeds_give_equal_outcomes_and_other_seeds_do_not(quotes, shop):
    assert draw(quotes, shop).equals(draw(quotes, shop))
    assert not draw(quotes, shop).equals(draw(quotes, shop, seed=1))


def test_a_changed_demand_is_answered_as_changed(quotes, shop):
    dearer = quotes.assign(**{schema.PRICE_MINOR: quotes[schema.LIST_PRICE_MINOR]})
    steep = SimulatedShop(shop.tables, elasticity_change(shop.planted, 2.0))
    assert len(draw(dearer, steep)) < 0.8 * len(draw(dearer, shop))


def test_the_shop_of_a_tables_folder_is_found_again_and_a_real_one_has_no_planted_demand(shop):
    again = simulate_again(shop.tables.metadata)
    assert again.tables.fingerprint() == shop.tables.fingerprint()
    with pytest.raises(DataError, match="no planted demand"):
        simulate_again({"dataset": "online-retail"})


def test_an_item_of_another_shop_is_refused_by_name(quotes, shop):
    with pytest.raises(DataError, match="elsewhere"):
        draw(quotes.assign(**{schema.ITEM_ID: "elsewhere"}), shop)
