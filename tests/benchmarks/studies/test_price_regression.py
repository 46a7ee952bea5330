"""The price study: listings of one product stay together, whichever shop lists them."""

import pandas as pd
import pytest

from benchmarks.studies import price_regression
from fairtag.base import schema
from fairtag.base.errors import MissingDataError


def test_a_folder_without_listings_is_refused(tmp_path):
    with pytest.raises(MissingDataError):
        price_regression.run(tmp_path)


def test_listings_of_one_product_are_one_group_across_shops_and_chains():
    pairs = pd.DataFrame(
        {
            "left_title": ["a", "a", "b", "c"],
            "left_price": ["1", "1", None, "3"],
            "right_title": ["x", "y", "y", "z"],
            "right_price": [2.0, 2.5, 2.5, 4.0],
            "label": [1, 1, 1, 0],
        }
    )
    items, group = price_regression._catalogue(pairs, {"title": "title"})
    product = dict(zip(items[schema.TITLE], group, strict=True))
    assert set(product) == {"a", "c", "x", "y", "z"}  # b has no price
    assert product["a"] == product["x"] == product["y"]
    assert len({product["a"], product["c"], product["z"]}) == 3
