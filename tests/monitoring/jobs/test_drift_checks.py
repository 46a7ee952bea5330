"""Item columns that went missing since training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import QuoteStream
from fairtag.base import schema
from fairtag.base.types import Status
from fairtag.profile.builder import Profile
from monitoring.detect.checks import ChangeDetector
from monitoring.jobs.drift_checks import absent_comparison
from monitoring.settings import Settings


@pytest.mark.parametrize(("missing", "status"), [(0.15, Status.PASS), (0.30, Status.WARN), (1.0, Status.URGENT)])
def test_an_item_column_that_went_missing_is_named(missing, status):
    stream = QuoteStream(items=120, users=1_200)
    sample, _ = stream.draw(pd.Timestamp("2026-02-09", tz="UTC"), 24, 2_000)
    ids = np.array(sorted(sample[schema.ITEM_ID].unique()), dtype=object)
    price = np.where(np.arange(len(ids)) < round(missing * len(ids)), np.nan, 9.0)
    items = pd.DataFrame({schema.ITEM_ID: ids, schema.COMPETITOR_PRICE: price})
    known = {schema.COMPETITOR_PRICE: {"absent": 0.15, "n": 9_000}}
    profile = Profile((), pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), known)
    comparison = absent_comparison(sample, items, profile, Settings())
    found = ChangeDetector(Settings(), 1).check(comparison)
    assert found.status is status
    assert found.summary.startswith("competitor_price is absent in")
    lost = absent_comparison(sample, items[[schema.ITEM_ID]], profile, Settings())  # the column itself is optional
    assert ChangeDetector(Settings(), 1).check(lost).status is Status.URGENT
    bare = Profile((), pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
    assert absent_comparison(sample, items, bare, Settings()) is None
