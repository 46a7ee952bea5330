"""The drift job through its command line: planted drift is found, quiet days pass, hourly evidence counts once."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import Shocks
from fairtag.base import schema
from fairtag.base.types import Status
from fairtag.profile.builder import Profile
from monitoring.__main__ import main
from monitoring.jobs import drift_checks
from monitoring.settings import Settings


@pytest.mark.parametrize(
    ("shocks", "code", "name"),
    [
        (Shocks(price_shift=0.10), 2, "price_level"),
        (Shocks(price_shift=0.02), 1, "price_level"),
        (Shocks(new_words=0.7), 2, "new_words"),
        (Shocks(broken=schema.SIMILARITY), 2, "similarity"),
    ],
)
@pytest.mark.slow
def test_planted_drift_is_found_and_named(shop, tmp_path, shocks, code, name):
    quotes, _ = shop.log(shocks, pages=5_000)
    assert main(shop.options(quotes, tmp_path / "out")) == code
    assert shop.checks(tmp_path / "out")[name].status is (Status.URGENT if code == 2 else Status.WARN)


def test_a_finding_names_its_items_and_what_moved_with_it(shop, tmp_path):
    quotes, _ = shop.stream.draw(shop.day, 24, 5_000, Shocks(price_shift=0.10, new_words=0.7))
    quotes.loc[quotes[schema.ITEM_ID] == "i6", schema.PRICE_MINOR] //= 2
    main(shop.options(shop.write(quotes, "named"), tmp_path / "out"))
    found = shop.checks(tmp_path / "out")
    price = found["price_level"]
    assert price.component == "category-0"
    assert price.examples[0].startswith("i6: -4")
    assert price.detail["related_changes"]["list_price_level"] == pytest.approx(np.log(1.10), abs=0.01)
    assert all("times in the sample" in example for example in found["new_words"].examples)
    assert found["similarity"].examples == ()


def test_a_list_arm_of_an_experiment_is_no_drift(shop, tmp_path):
    """Half of the pages at list would be urgent; as an arm of an experiment they are left out and counted."""
    quotes, _ = shop.stream.draw(shop.day, 24, 4_000, Shocks())
    arm = np.where(pd.util.hash_array(quotes[schema.QUOTE_ID].to_numpy(dtype=object)) % 2 == 0, "list", "learned")
    listed = pd.Series(arm == "list", index=quotes.index)
    quotes.loc[listed, schema.PRICE_MINOR] = quotes.loc[listed, schema.LIST_PRICE_MINOR]
    assert main(shop.options(shop.write(quotes, "unexplained"), tmp_path / "before")) == 2
    quotes[schema.REASONS] = [
        ["EXPERIMENT"] if at_list else list(reasons)
        for at_list, reasons in zip(listed, quotes[schema.REASONS], strict=True)
    ]
    quotes = quotes.assign(**{schema.EXPERIMENT: "learned-1", schema.ARM: arm})
    assert main(shop.options(shop.write(quotes, "explained"), tmp_path / "out")) == 0
    report = json.loads((tmp_path / "out" / "drift.json").read_text())
    pages = quotes[listed][schema.QUOTE_ID].nunique()
    assert report["detail"]["experiment_pages_left_out"] == pages
    assert report["detail"]["pages"] == quotes[schema.QUOTE_ID].nunique() - pages


def test_a_season_that_training_saw_is_no_drift(shop, tmp_path):
    for day in range(4):
        start = shop.day + pd.Timedelta(days=day)
        quotes, _ = shop.log(Shocks(season=0.2), hours=24, start=start, name=f"day{day}")
        end = (start + pd.Timedelta(days=1)).isoformat()
        assert main(shop.options(quotes, tmp_path / "out", end=end)) == 0


def test_hourly_runs_count_their_evidence_once_and_a_shift_is_urgent(shop, tmp_path):
    state = tmp_path / "state"
    start = shop.day
    quotes, _ = shop.log(hours=6, pages=1_800)
    options = shop.options(
        quotes, tmp_path / "out", "--state", str(state), "--window", "6h", end="2026-02-09T06:00:00Z"
    )
    assert main(options) == 0
    before = (state / "drift.json").read_text()
    assert main(options) == 0
    assert (state / "drift.json").read_text() == before
    shifted, _ = shop.log(Shocks(price_shift=0.1), hours=1, pages=300, start=start + pd.Timedelta(hours=6), name="next")
    shutil.copy(shifted / "next.parquet", quotes / "next.parquet")
    later = shop.options(quotes, tmp_path / "out", "--state", str(state), "--window", "6h", end="2026-02-09T07:00:00Z")
    assert main(later) == 2
    found = shop.checks(tmp_path / "out")["price_level"]
    assert found.status is Status.URGENT
    assert found.component == "category-0"
    assert found.since is not None


@pytest.mark.slow
def test_two_quiet_days_of_runs_never_alarm(shop, tmp_path):
    start = shop.day
    codes = []
    for hour in range(0, 2 * 24, 4):
        begin = start + pd.Timedelta(hours=hour)
        quotes, _ = shop.log(hours=4, pages=400, start=begin, name=f"h{hour}")
        end = (begin + pd.Timedelta(hours=4)).isoformat()
        codes.append(
            main(shop.options(quotes, tmp_path / "out", "--state", str(tmp_path / "s"), "--window", "4h", end=end))
        )
    assert set(codes) == {0}


def test_an_hour_of_a_day_long_window_is_held_against_the_hours_of_training(shop, tmp_path, monkeypatch):
    asked, real = [], drift_checks.comparisons
    monkeypatch.setattr(
        drift_checks, "comparisons", lambda *given, **more: asked.append(given[-1]) or real(*given, **more)
    )
    quotes, _ = shop.log(hours=4, pages=1_600)
    for k in (2, 4):
        shop.run_hour(tmp_path, k, quotes)
    assert asked == [24.0, 2.0]  # the first run has a day behind it, the second what came since
    mix = next(r for r in Profile.load(shop.profile).references if r.measure.name == "category_mix")
    part, day = (drift_checks.margins(mix, Settings(spread_warn=10), hours)[0] for hours in (2.0, 24.0))
    assert (part >= day).all()
    assert (part > day).any()
