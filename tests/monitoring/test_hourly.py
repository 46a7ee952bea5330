"""Hourly runs with a memory: evidence counts once, waits where there is too little, and allows for the hour."""

from __future__ import annotations

import shutil

import pandas as pd

from benchmarks.monitoring.quote_stream import Shocks
from fairtag.base import schema
from fairtag.base.files import read_json
from fairtag.base.types import Status
from fairtag.profile.builder import Profile
from monitoring.__main__ import main
from monitoring.jobs import drift_questions
from monitoring.settings import Settings


def hour(shop, tmp_path, k, quotes, *more, job="drift", window="24h"):
    """Run a job at the end of hour ``k`` of the day, as the hourly CronJob does; returns its exit code."""
    end = (shop.day + pd.Timedelta(hours=k)).isoformat()
    state = ("--state", str(tmp_path / "state"), "--window", window)
    return main([job, *shop.options(quotes, tmp_path / "out", *state, *more, end=end)[1:]])


def test_hourly_runs_count_their_evidence_once_and_page_on_a_shift(shop, tmp_path):
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
    asked, real = [], drift_questions.questions
    monkeypatch.setattr(drift_questions, "questions", lambda *given: asked.append(given[-1]) or real(*given))
    quotes, _ = shop.log(hours=4, pages=1_600)
    for k in (2, 4):
        hour(shop, tmp_path, k, quotes)
    assert asked == [24.0, 2.0]  # the first run has a day behind it, the second what came since
    mix = next(r for r in Profile.load(shop.profile).references if r.measure.name == "category_mix")
    part, day = (drift_questions.margins(mix, Settings(spread_warn=10), hours)[0] for hours in (2.0, 24.0))
    assert (part >= day).all()
    assert (part > day).any()


def test_purchases_too_few_for_the_detectors_wait_and_are_not_lost(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("maturity_hours: 0\n")
    quotes, outcomes = shop.log(hours=4, pages=800)
    bought = pd.read_parquet(outcomes / "day-outcomes.parquet")
    early = bought[bought[schema.TS] < shop.day + pd.Timedelta(hours=2)]
    few = pd.concat([early.head(15), bought[bought[schema.TS] >= shop.day + pd.Timedelta(hours=2)]])
    more = ("--outcomes", str(shop.write(few, "few")), "--settings", str(settings))
    cursors = []
    for k in (2, 4):
        hour(shop, tmp_path, k, quotes, *more, job="performance")
        cursors.append(read_json(tmp_path / "state" / "performance.json")["cursor"])
    assert cursors == [None, (shop.day + pd.Timedelta(hours=4)).isoformat()]
