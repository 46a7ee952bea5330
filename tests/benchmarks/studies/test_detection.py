"""The detection study looks as the jobs do, and counts as it says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.quote_stream import QuoteStream
from benchmarks.result import Row
from benchmarks.studies import detection
from benchmarks.studies.hourly_monitors import HourlyMonitors
from fairtag.base.files import read_json
from fairtag.profile.builder import build_profile
from monitoring.__main__ import main

DAY = pd.Timestamp("2026-02-09", tz="UTC")


def test_the_monitors_gather_the_evidence_of_hourly_jobs_on_a_log(tmp_path):
    stream = QuoteStream(items=60, users=400)
    training, _ = stream.draw(DAY - pd.Timedelta(days=14), 24 * 14, 3_000)
    profile = build_profile(pd.DataFrame(), training)
    profile.save(tmp_path / "profile")
    monitors = HourlyMonitors(profile, stream.audit_groups(), jobs=("drift",))
    (tmp_path / "quotes").mkdir()
    for k in range(3):
        quotes, outcomes = stream.draw(DAY + pd.Timedelta(hours=k), 1.0, 300)
        quotes.to_parquet(tmp_path / "quotes" / f"{k}.parquet", index=False, coerce_timestamps="us")
        monitors.look(quotes, outcomes)
        end = (DAY + pd.Timedelta(hours=k + 1)).isoformat()
        options = {"quotes": tmp_path / "quotes", "model-folder": tmp_path / "profile", "out": tmp_path / "out"}
        line = [str(part) for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
        main(["drift", *line, "--end", end, "--window", "1h", "--state", str(tmp_path / "state"), "--no-evidently"])
    written = read_json(tmp_path / "state" / "drift.json")["detectors"]
    assert len(written) == len(monitors.states["drift"].detectors) > 20
    for name, (labels, detector) in monitors.states["drift"].detectors.items():
        assert written[name]["components"] == list(labels)
        np.testing.assert_allclose(written[name]["log_wealth"], detector.log_wealth, atol=2e-3, err_msg=name)


@pytest.fixture(scope="module")
def world():
    return detection.World.build(QuoteStream(items=60, users=400))


@pytest.mark.parametrize("name", ["price_10_percent", "broken_similarity"])
def test_a_gross_shock_is_seen_within_hours(world, name):
    scenario = next(each for each in detection.scenarios(world.members) if each.name == name)
    power, hours, urgent = detection.shock_rows(world, scenario, "low", 100, 1)
    assert power.value == 1.0
    assert hours.value <= urgent.value <= 6


def test_the_summary_takes_the_worse_of_the_two_levels():
    rows = [Row("quiet_urgent_100_days_low", 0.0), Row("quiet_urgent_100_days_high", 1.0)]
    rows += [
        Row("power_gap_2_percent_low", 0.4),
        Row("power_gap_2_percent_high", 1.0),
        Row("hours_gap_2_percent_low", 9),
    ]
    found = {row.metric: row.value for row in detection.summary_rows(rows)}
    assert found == {"quiet_urgent_100_days": 1.0, "power_gap_2_percent": 0.4}
