import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.demand.demand_data import FOLDS, Assortment, demand_data


def edited(shop, rows, **columns):
    """The training frame with some cells changed."""
    frame = shop.training.copy()
    for name, value in columns.items():
        frame.loc[frame.index[rows], name] = value
    return frame


def built(shop, frame, **changes):
    return demand_data(frame, shop.assortment, **({"similarity": shop.similarity} | changes))


def test_rows_keep_their_values_and_pages_their_outcome(shop, data):
    assert data.n_rows == len(shop.training)
    np.testing.assert_allclose(data.y, shop.training[schema.PRICE] / shop.training[schema.LIST_PRICE])
    bought = shop.training.groupby(schema.PAGE_ID, sort=False)[schema.PURCHASED].sum()
    np.testing.assert_array_equal(np.add.reduceat(data.bought, data.starts), bought)
    np.testing.assert_array_equal(data.outside, bought == 0)
    assert sum(data.left_out.values()) == 0


def test_the_order_of_the_rows_does_not_matter(shop, data):
    order = np.random.default_rng(0).permutation(len(shop.training))
    shuffled = demand_data(shop.training.iloc[order], shop.assortment, similarity=shop.similarity[order])
    assert shuffled.bought.sum() == data.bought.sum()
    assert shuffled.outside.sum() == data.outside.sum()
    found, expected = ([s.f_statistic for s in each.first_stage.categories] for each in (shuffled, data))
    assert found == pytest.approx(expected, rel=1e-9)
    assert np.sort(shuffled.first_stage.nu) == pytest.approx(np.sort(data.first_stage.nu), abs=1e-12)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        (schema.IN_STOCK, False, "out of stock"),
        (schema.PRICE, 0.0, "price not positive"),
        (schema.PRICE, -3.0, "price not positive"),
        (schema.PRICE, np.nan, "price not positive"),
        (schema.PRICE, np.inf, "price not positive"),
        (schema.PRICE, 1e7, "price ratio implausible"),
        (schema.LIST_PRICE, 0.0, "reference price not positive"),
        (schema.ITEM_ID, "gone", "item not in the catalogue"),
    ],
)
def test_impressions_that_must_not_enter_are_left_out_and_counted(shop, column, value, rule):
    found = built(shop, edited(shop, [3, 17, 40], **{column: value}))
    assert found.left_out[rule] == 3
    assert sum(found.left_out.values()) == 3
    assert found.n_rows == len(shop.training) - 3


def test_an_unknown_similarity_is_left_out(shop):
    similarity = shop.similarity.copy()
    similarity[5] = np.nan
    assert built(shop, shop.training, similarity=similarity).left_out["similarity unknown"] == 1


def test_a_row_that_breaks_two_rules_is_counted_once(shop):
    found = built(shop, edited(shop, [3], **{schema.IN_STOCK: False, schema.PRICE: -1.0}))
    assert found.left_out["out of stock"] == 1
    assert found.left_out["price not positive"] == 0


def test_a_page_whose_bought_row_is_left_out_did_not_choose_the_outside(shop):
    row = int(np.flatnonzero(shop.training[schema.PURCHASED])[0])
    found = built(shop, edited(shop, [row], **{schema.PRICE: -1.0}))
    page = row // 8
    assert found.outside[page] == 0
    assert np.add.reduceat(found.bought, found.starts)[page] == 0


def test_a_page_that_is_out_of_stock_altogether_disappears(shop, data):
    found = built(shop, edited(shop, range(8), **{schema.IN_STOCK: False}))
    assert found.starts.size == data.starts.size - 1


def test_everything_out_of_stock_is_refused_with_the_counts(shop):
    with pytest.raises(DataError, match="out of stock"):
        built(shop, shop.training.assign(**{schema.IN_STOCK: False}))


def test_a_missing_stock_flag_means_in_stock(shop, data):
    assert built(shop, shop.training.drop(columns=schema.IN_STOCK)).n_rows == data.n_rows


def test_the_reference_price_sets_the_unit(shop, data):
    reference = 2.0 * shop.training[schema.LIST_PRICE].to_numpy()
    np.testing.assert_allclose(built(shop, shop.training, reference=reference).y, data.y / 2)


def test_folds_are_decided_by_the_page_id_alone(shop, data):
    assert set(data.fold) == set(range(FOLDS))
    half = shop.training.iloc[: 8 * 100]
    found = demand_data(half, shop.assortment, similarity=shop.similarity[: len(half)])
    np.testing.assert_array_equal(found.fold, data.fold[:100])


def test_behaviour_that_is_infinite_counts_as_unknown(shop):
    found = built(shop, edited(shop, range(8), **{schema.SPEND_90D: np.inf}))
    assert np.isnan(found.behaviour[0, 2])


def test_a_cost_of_another_unit_counts_as_unknown(shop):
    found = built(shop, edited(shop, [2], **{schema.UNIT_COST: 1e9}))
    assert np.isnan(found.unit_cost[2])
    assert found.first_stage.used


def test_prices_of_an_item_in_one_week_were_set_together(shop):
    days = np.arange(len(shop.training)) % 28
    dated = shop.training.assign(**{schema.TS: pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(days, "D")})
    found = built(shop, dated)
    for unit in range(0, int(found.price_unit.max()), 37):
        rows = found.price_unit == unit
        assert len(set(found.item[rows])) == 1
        assert len(set(days[rows] // 7)) == 1
    assert found.price_unit.max() + 1 == 60 * 4
    assert built(shop, dated, period_days=28).price_unit.max() + 1 == 60


def test_a_selection_of_pages_keeps_rows_and_pages_aligned(data):
    keep = np.zeros(data.starts.size, dtype=bool)
    keep[[0, 5, 6]] = True
    part = data.pages(keep)
    assert part.starts.tolist() == [0, 8, 16]
    np.testing.assert_array_equal(part.item, data.item[np.r_[0:8, 40:56]])
    np.testing.assert_array_equal(part.first_stage.nu, data.first_stage.nu[np.r_[0:8, 40:56]])
    np.testing.assert_array_equal(part.behaviour, data.behaviour[keep])


@pytest.mark.parametrize("embeddings", [np.zeros((2, 3)), np.full((60, 3), np.nan)], ids=["too few", "NaN"])
def test_embeddings_that_do_not_fit_the_catalogue_are_refused(shop, embeddings):
    with pytest.raises(DataError, match="embeddings"):
        Assortment.of(shop.catalogue, embeddings)


def test_categories_are_sorted_and_coded(shop):
    found = Assortment.of(pd.DataFrame({schema.ITEM_ID: ["a", "b"], schema.CATEGORY: ["z", "y"]}))
    assert found.categories == ("y", "z")
    assert found.category.tolist() == [1, 0]
