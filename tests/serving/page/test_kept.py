"""Promises as fields of a store, and back."""

from hypothesis import given
from hypothesis import strategies as st

from serving.page.kept import Kept, degraded_fields, whole_fields

IDS = st.text(st.characters(min_codepoint=33, exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
PRICES = st.dictionaries(IDS, st.integers(1, 10_000))


@given(whole=PRICES, degraded=PRICES, personal=st.booleans())
def test_what_pages_promised_is_read_back(whole, degraded, personal):
    kept = Kept.of({**whole_fields(whole, personal=personal), **degraded_fields(degraded)})
    assert kept == Kept(whole, degraded, personal)


def test_only_prices_above_their_ceiling_are_brought_down():
    kept = Kept({}, {"a": 100, "b": 100, "c": 100})
    assert kept.above({"a": 101, "b": 100}) == {"a": 100}
    assert kept.with_prices({"a": 100}).prices == {"a": 100}
