"""Sketches: close to the exact answer, the same when merged, bounded in size, and the sample that Evidently reads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import QuoteStream
from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from monitoring.detect.scan import Sample
from monitoring.detect.sketches import KLL_K, QUANTILES, Sketches

START = pd.Timestamp("2026-02-09", tz="UTC")


@pytest.fixture(scope="module")
def quotes():
    return QuoteStream(items=120, users=1_200).draw(START, 24, 4_000)[0]


def of(*frames):
    sketches = Sketches()
    for frame in frames:
        sketches.add(frame)
    return sketches


def test_quantiles_are_within_the_rank_error_the_library_promises(quotes):
    found = of(quotes).summary()["quantiles"][schema.PRICE_MINOR]
    values = np.sort(quotes[schema.PRICE_MINOR].to_numpy())
    for q in QUANTILES:
        low = np.searchsorted(values, found[str(q)], side="left") / len(values)
        high = np.searchsorted(values, found[str(q)], side="right") / len(values)
        assert low - 0.02 <= q <= high + 0.02
    assert KLL_K == 200


def test_frequent_values_and_distinct_customers_are_close_to_exact(quotes):
    summary = of(quotes).summary()
    exact = quotes[schema.CATEGORY].value_counts()
    assert dict(summary["frequent"][schema.CATEGORY]) == exact.to_dict()
    assert summary["distinct"][schema.USER_KEY] == pytest.approx(quotes[schema.USER_KEY].nunique(), rel=0.05)


def test_merged_halves_are_the_whole(quotes):
    merged = of(quotes.iloc[:9_000]).merge(of(quotes.iloc[9_000:]))
    whole = of(quotes)
    assert merged.rows == whole.rows == len(quotes)
    assert merged.summary()["frequent"][schema.CATEGORY] == whole.summary()["frequent"][schema.CATEGORY]
    for name, count in whole.summary()["distinct"].items():
        assert merged.summary()["distinct"][name] == pytest.approx(count, rel=0.03)
    for name, quantiles in whole.summary()["quantiles"].items():
        assert merged.summary()["quantiles"][name]["0.5"] == pytest.approx(quantiles["0.5"], rel=0.1)


def test_the_size_does_not_grow_with_the_rows(quotes):
    some, many = of(quotes), of(*[quotes] * 8)
    assert many.rows == 8 * some.rows
    assert many.size < 1.5 * some.size < 500_000


def test_sketches_survive_the_disk(quotes, tmp_path):
    sketches = of(quotes)
    again = Sketches.load(sketches.save(tmp_path / "sketches"))
    assert again.summary() == sketches.summary()
    with pytest.raises(MissingDataError, match="no sketches"):
        Sketches.load(tmp_path / "absent")


def test_the_sample_does_not_depend_on_how_the_rows_arrive(quotes):
    whole, parts = Sample(500, seed=3), Sample(500, seed=3)
    whole.add(quotes)
    shuffled = quotes.sample(frac=1, random_state=0)
    for start in range(0, len(shuffled), 700):
        parts.add(shuffled.iloc[start : start + 700])
    key = [schema.QUOTE_ID, schema.ITEM_ID]
    first, second = whole.frame()[key], parts.frame()[key]
    assert set(map(tuple, first.to_numpy())) == set(map(tuple, second.to_numpy()))


def test_the_sample_keeps_rare_categories_and_follows_its_seed(quotes):
    rare = quotes.copy()
    rare.loc[:39, schema.CATEGORY] = "rare"
    sample, other = Sample(300, seed=1), Sample(300, seed=2)
    sample.add(rare)
    other.add(rare)
    assert (sample.frame()[schema.CATEGORY] == "rare").sum() == 40
    assert not sample.frame()[schema.QUOTE_ID].equals(other.frame()[schema.QUOTE_ID])
