"""Filters keep what they say, and facets count what each of their values would find."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from fairtag.search.facets import MOST_VALUES, FacetTable, Filters

ITEMS = pd.DataFrame(
    {
        "category": ["tools", "tools", "pets", "pets", "Garden"],
        "brand": ["Acme", "Bolt", "Acme", None, "Bolt"],
    }
)
PRICES = np.array([1_000, 2_500, 1_500, 9_900, 2_000])
ALL = np.arange(5)


@pytest.fixture
def table():
    return FacetTable.of(ITEMS)


def found(counts, field):
    return {count.value: count.count for count in counts if count.field == field}


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        (Filters(), [0, 1, 2, 3, 4]),
        (Filters(category=("tools",)), [0, 1]),
        (Filters(category=("TOOLS", "garden")), [0, 1, 4]),
        (Filters(brand=("Acme",)), [0, 2]),
        (Filters(category=("tools",), brand=("Acme",)), [0]),
        (Filters(low_minor=1_500, high_minor=2_500), [1, 2, 4]),  # both ends included
        (Filters(low_minor=3_000, high_minor=2_000), []),
        (Filters(brand=("nobody",)), []),
    ],
)
def test_filters_keep_the_rows_that_meet_all_of_them(table, filters, rows):
    assert np.flatnonzero(table.within(filters, PRICES)).tolist() == rows
    assert bool(filters) == (filters != Filters())


def test_a_facet_counts_as_if_it_had_no_filter_of_its_own(table):
    filters = Filters(category=("tools",), high_minor=2_000)
    counts = table.count(ALL, ["category", "brand", "price"], filters, PRICES)
    assert found(counts, "category") == {"tools": 1, "pets": 1, "Garden": 1}
    assert found(counts, "brand") == {"Acme": 1}
    assert sum(found(counts, "price").values()) == 2  # both tools, whatever they cost


def test_only_the_rows_that_match_the_query_are_counted(table):
    assert found(table.count(np.array([0, 2]), ["category"], Filters(), PRICES), "category") == {"tools": 1, "pets": 1}
    assert table.count(ALL[:0], ["category", "price"], Filters(), PRICES) == ()


def test_price_ranges_hold_every_item_once_and_have_round_ends(table):
    prices = np.random.default_rng(0).integers(500, 40_000, 300)
    items = pd.DataFrame({"category": ["x"] * 300})
    counts = FacetTable.of(items).count(np.arange(300), ["price"], Filters(), prices)
    assert sum(count.count for count in counts) == 300
    assert counts[0].low_minor == 0
    assert counts[-1].high_minor is None
    for count, following in pairwise(counts):
        assert count.high_minor + 1 == following.low_minor
        inside = ((prices >= count.low_minor) & (prices <= count.high_minor)).sum()
        assert count.count == inside
        assert len(str(following.low_minor // 100).strip("0")) == 1, "its ends are round"
    assert max(count.count for count in counts) < 120, "and hold about equally many"


def test_the_most_frequent_values_come_first_and_their_number_is_bounded():
    items = pd.DataFrame({"category": [f"c{number % 40:02d}" for number in range(100)]})
    counts = FacetTable.of(items).count(np.arange(100), ["category"], Filters(), np.zeros(100))
    assert len(counts) == MOST_VALUES
    assert [count.count for count in counts] == [3] * MOST_VALUES


def test_an_unknown_value_is_named_with_the_one_that_was_meant(table):
    assert "did you mean tools?" in table.unknown(Filters(category=("tolls",)))
    assert table.unknown(Filters(category=("Tools",), brand=("acme",))) is None
    assert "the brand 'zzz'" in table.unknown(Filters(brand=("zzz",)))
