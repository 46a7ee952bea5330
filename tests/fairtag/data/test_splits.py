"""The newest pages are held out whole, and a key is always on the same side."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.data.splits import PRODUCT_SALT, QUERY_SALT, held_out, time_split, unit_hash

START = pd.Timestamp("2026-01-01", tz="UTC")


def impressions(pages=40, rows=3):
    """Pages an hour apart, each of whose rows is a minute after the one before."""
    page = np.repeat(np.arange(pages), rows)
    minutes = 60 * page + np.tile(np.arange(rows), pages)
    times = START + pd.to_timedelta(minutes, unit="min")
    frame = pd.DataFrame({schema.PAGE_ID: [f"p{number}" for number in page], schema.TS: times})
    return frame.sample(frac=1.0, random_state=0)


@pytest.mark.parametrize(("hold_out", "tune"), [(0.25, 0.1), (0.5, 0.25)])
def test_the_shares_of_the_newest_pages_are_tuned_on_and_held_out(hold_out, tune):
    frame = impressions()
    last = frame.groupby(schema.PAGE_ID)[schema.TS].max()
    split = time_split(frame, hold_out, tune)
    sizes = {name: int(split.part(last, name).sum()) for name in ("train", "tune", "fit", "hold_out")}
    held, tuned = round(40 * hold_out), round(40 * tune)
    assert sizes == {"train": 40 - held - tuned, "tune": tuned, "fit": 40 - held, "hold_out": held}
    assert set(last.index[split.part(last, "hold_out")]) == {f"p{number}" for number in range(40 - held, 40)}
    parts = [split.part(last, name) for name in ("train", "tune", "hold_out")]
    assert (np.sum(parts, axis=0) == 1).all()


def test_too_few_pages_or_a_single_instant_cannot_be_split():
    with pytest.raises(DataError, match="9 pages over 9 times"):
        time_split(impressions(pages=9))
    with pytest.raises(DataError, match="20 pages over 1 times"):
        time_split(impressions(pages=20).assign(**{schema.TS: START}))


def test_a_key_is_always_on_the_same_side_and_salts_are_independent():
    keys = [f"item-{number}" for number in range(20_000)]
    queries, products = held_out(keys, QUERY_SALT), held_out(keys, PRODUCT_SALT)
    np.testing.assert_array_equal(held_out(keys[::-1], QUERY_SALT)[::-1], queries)
    assert queries.mean() == pytest.approx(0.25, abs=0.01)  # three standard errors
    assert (queries & products).mean() == pytest.approx(0.25**2, abs=0.006)
    assert 0 <= min(unit_hash(key, "") for key in keys) < 0.001 < 0.999 < max(unit_hash(key, "") for key in keys) < 1
