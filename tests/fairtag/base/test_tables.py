"""The contract takes a shop's own columns where it says so, and no others."""

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.tables import coerce, no_rows


def test_impressions_take_a_column_of_the_shops_own_as_a_number():
    frame = no_rows(schema.IMPRESSIONS).assign(x_shelf=pd.Series([], dtype=object), display=pd.Series([], dtype=object))
    typed = coerce(frame, schema.IMPRESSIONS)
    assert {"x_shelf", "display"} <= set(typed.columns)
    assert typed["x_shelf"].dtype == typed["display"].dtype == "float64"


@pytest.mark.parametrize(("table", "column"), [("impressions", "shelf"), ("impressions", "x_"), ("orders", "x_shelf")])
def test_any_other_column_is_refused(table, column):
    contract = schema.table(table)
    with pytest.raises(DataError, match=rf"column {column} is not in the contract"):
        coerce(no_rows(contract).assign(**{column: 1.0}), contract)
