"""Pages from other receipts: what a visit meets does not depend on what it bought; a planted response is found."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.data.complete_journey import read, read_sold
from fairtag.data.receipt_pages import page_rows
from fairtag.demand.choices import Choices
from fairtag.demand.logit import fit_logit, laplace

LINES = pd.DataFrame(
    [  # basket, store, week, type, product, paid, shelf
        ("b1", "s1", 1, "milk", "A", 1.0, 2.0),
        ("b2", "s1", 2, "milk", "A", 2.0, 2.0),
        ("b3", "s2", 1, "milk", "A", 1.8, 2.0),
        ("b4", "s1", 1, "milk", "B", 3.0, 3.0),
        ("b5", "s1", 1, "soup", "C", 1.0, 1.0),
    ],
    columns=["basket_id", "store_id", "week", "product_type", "product_id", "paid", "shelf"],
).assign(quantity=1.0, household_id="h")
VISITS = LINES.drop_duplicates("basket_id")[["basket_id", "household_id", "store_id", "week"]].assign(ts=0)


def pages(share=1.0):
    rows = page_rows(LINES, VISITS, share=share, seed=0)
    return rows.set_index(["basket_id", "product_type", "product_id"]).sort_index()


def test_an_item_is_shown_by_the_store_and_priced_by_the_week_of_other_receipts():
    rows = pages()
    assert rows.loc[("b1", "milk", "A"), "level"] == pytest.approx(0.9), "its own half price is not in it"
    assert rows.loc[("b5", "milk", "A"), "level"] == pytest.approx((0.5 + 0.9) / 2)
    assert rows.loc[("b5", "milk", "A"), "receipts"] == 2
    assert rows.loc[("b5", "milk", "B"), "level"] == 1.0


def test_a_visit_that_bought_what_no_other_receipt_shows_is_left_out():
    rows = pages()
    seen = {(basket, kind) for basket, kind, _ in rows.index}
    assert ("b4", "milk") not in seen, "B was sold to it alone"
    assert ("b2", "milk") not in seen, "nobody else shows A's price in week 2"
    assert ("b3", "milk") not in seen, "nobody else shows that s2 keeps A"
    assert ("b1", "milk") in seen
    assert rows["quantity"].sum() == 1


def test_of_visits_without_a_purchase_a_share_is_kept_and_of_those_with_one_all():
    assert {basket for basket, *_ in pages(0.0).index} == {"b1"}


def planted(slope, *, stores=25, weeks=40, visits=50, items=5, types=4, seen=0.07, seed=1):
    """Receipt lines of a simulated chain: prices move by week for all stores; a thin sample of its lines is kept."""
    rng = np.random.default_rng(seed)
    n = stores * weeks * visits
    store, week = np.repeat(np.arange(stores), weeks * visits), np.tile(np.repeat(np.arange(weeks), visits), stores)
    bought = []
    for kind in range(types):
        level = np.where(rng.random((weeks, items)) < 0.5, 1.0, rng.uniform(0.5, 0.95, (weeks, items)))
        utility = rng.normal(-1.0, 0.4, items) + slope * (0.85 - level[week])
        choice = (np.c_[utility, np.zeros(n)] + rng.gumbel(size=(n, items + 1))).argmax(axis=1)
        who = np.flatnonzero((choice < items) & (rng.random(n) < seen))
        frame = pd.DataFrame({"basket_id": who, "store_id": store[who], "week": week[who], "product_type": str(kind)})
        frame["product_id"] = [f"{kind}-{item}" for item in choice[who]]
        bought.append(frame.assign(paid=level[week[who], choice[who]], shelf=1.0, quantity=1.0, household_id="h"))
    lines = pd.concat(bought, ignore_index=True)
    kept = np.unique(lines["basket_id"])
    return lines, pd.DataFrame(
        {"basket_id": kept, "household_id": "h", "store_id": store[kept], "week": week[kept], "ts": 0}
    )


def slope_of(rows):
    """Slope and standard error of a conditional logit with item effects on pages of visit and type."""
    rows = rows.sort_values(["basket_id", "product_type"], kind="stable")
    starts = np.flatnonzero(~rows.duplicated(["basket_id", "product_type"]).to_numpy())
    item, known = pd.factorize(rows["product_id"])
    X = np.c_[item[:, None] == np.arange(len(known)), -rows["level"]].astype(float)
    bought = (rows["quantity"] > 0).to_numpy(float)
    choices = Choices(X, starts, bought, 1.0 - np.minimum(np.add.reduceat(bought, starts), 1.0))
    fit = fit_logit(choices)
    return fit.theta[-1], laplace(choices, fit).standard_errors[-1]


def sold_pages(lines, visits):
    """What the other reader does: a visit's page is what sold in its store and week."""
    shown = lines.groupby(["store_id", "week", "product_type", "product_id"], as_index=False).agg(
        level=("paid", "median")
    )
    bought = lines[["basket_id", "product_id", "quantity"]]
    rows = shown.merge(visits, on=["store_id", "week"]).merge(bought, on=["basket_id", "product_id"], how="left")
    return rows.assign(quantity=rows["quantity"].fillna(0.0))


def test_the_planted_response_is_found_where_pages_of_what_sold_hide_it():
    lines, visits = planted(3.0)
    found, error = slope_of(page_rows(lines, visits, share=0.2, seed=0))
    assert error < 0.25
    assert abs(found - 3.0) < 4 * error
    hidden, _ = slope_of(sold_pages(lines, visits))
    assert hidden < 1.5, "an item that is shown was bought, at any price"


def test_where_price_does_not_matter_no_response_is_found():
    found, error = slope_of(page_rows(*planted(0.0, seed=2), share=0.2, seed=0))
    assert abs(found) < 4 * error


def test_the_receipts_become_tables_whose_pages_say_what_they_are(receipts):
    folder = receipts / "complete_journey" / "transactions_sample.parquet"
    sold = pd.read_parquet(folder)
    other = (
        sold[sold["basket_id"] == "b1"].head(1).assign(basket_id="b6", household_id="b", quantity=1.0, sales_value=1.8)
    )
    pd.concat([sold, other.assign(retail_disc=0.2)]).to_parquet(folder)
    shop = read(receipts)
    rows = shop.impressions.set_index([schema.PAGE_ID, schema.ITEM_ID])
    milk = rows.loc[("b1-1", "1")]
    assert milk[schema.PURCHASED]
    assert milk[schema.LIST_PRICE] == 2.0
    assert milk[schema.PRICE] == pytest.approx(1.8), "what the other household paid"
    assert "other receipts" in shop.metadata["provenance"]["impressions"]
    assert shop.items.equals(read_sold(receipts).items)


@pytest.mark.data
@pytest.mark.slow
def test_the_real_receipts_show_why(real_data):
    """What was bought was cheaper than usual on pages that others show; where its own sale shows it, it was not."""
    sold, unseen = read_sold(real_data).impressions, read(real_data).impressions
    cheaper = []
    for rows in (sold, unseen):
        assert (rows[schema.PRICE] <= rows[schema.LIST_PRICE]).all()
        level = rows[schema.PRICE] / rows[schema.LIST_PRICE]
        inside = level - level.groupby(rows[schema.ITEM_ID]).transform("mean")
        cheaper.append(-inside[rows[schema.PURCHASED]].mean())
    assert cheaper[0] < 0.005
    assert cheaper[1] > 0.015
    assert 7_000 < unseen[schema.PURCHASED].sum() < 8_000
