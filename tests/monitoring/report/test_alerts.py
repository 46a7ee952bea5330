"""Alerts: notified once, daily while they last, when they get worse and when they end; safe on disk."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock

from fairtag.base.errors import DataError
from fairtag.base.types import Status
from monitoring.job_report import Check
from monitoring.report.alerts import read_alerts, update_alert_file, update_alerts, write_alerts

NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)


def test_an_alert_is_notified_once_then_daily_then_when_it_ends(report, up):
    notified = []
    alerts = {}
    for hour in range(30):
        alerts, notifications = update_alerts(alerts, [report(up)], NOW + timedelta(hours=hour))
        notified += [(hour, each.event) for each in notifications]
    for hour in range(30, 36):
        alerts, notifications = update_alerts(alerts, [report()], NOW + timedelta(hours=hour))
        notified += [(hour, each.event) for each in notifications]
    assert notified == [(0, "new"), (24, "still"), (32, "ended")]
    assert alerts == {}


def test_a_flapping_finding_is_one_alert_and_a_worse_one_is_notified(report, up):
    warn = Check("price_level", Status.WARN, "a little")
    alerts, notified = {}, []
    for hour, checks in enumerate([(warn,), (), (warn,), (), (up,), (warn,), (up,)]):
        alerts, notifications = update_alerts(alerts, [report(*checks)], NOW + timedelta(hours=hour))
        notified += [each.event for each in notifications]
    assert notified == ["new", "worse"]


def test_an_alert_of_a_job_that_did_not_run_stays(report, up):
    alerts, _ = update_alerts({}, [report(up)], NOW)
    for hour in range(5):
        alerts, notifications = update_alerts(alerts, [report(job="quality")], NOW + timedelta(hours=hour))
        assert not notifications
    assert "drift/price_level" in alerts


def test_open_alerts_survive_the_disk_and_damage_is_refused(report, up, tmp_path):
    alerts, _ = update_alerts({}, [report(up)], NOW)
    assert read_alerts(write_alerts(alerts, tmp_path / "alerts.json")) == alerts
    assert read_alerts(tmp_path / "none.json") == {}
    (tmp_path / "alerts.json").write_text('{"schema": "fairtag.alerts/2", "alerts": [{}]}')
    with pytest.raises(DataError, match="remove the file"):
        read_alerts(tmp_path / "alerts.json")


def test_jobs_that_end_at_once_take_turns_with_the_open_alerts(report, up, tmp_path):
    path = tmp_path / "alerts.json"
    other = report(replace(up, name="late"), job="quality")
    with FileLock(f"{path}.lock"):
        worker = threading.Thread(target=update_alert_file, args=(path, [other], NOW))
        worker.start()
        alerts, _ = update_alerts(read_alerts(path), [report(up)], NOW)
        write_alerts(alerts, path)
    worker.join(10)
    assert set(read_alerts(path)) == {"drift/price_level", "quality/late"}


def test_what_does_not_decide_raises_no_alert(report):
    cell = Check("price_gap:a x b", Status.UNKNOWN, "small", decides=False)
    said = report(Check("price_gap:a", Status.PASS, "fine"), cell, job="fairness")
    assert update_alerts({}, [said], NOW) == ({}, [])
