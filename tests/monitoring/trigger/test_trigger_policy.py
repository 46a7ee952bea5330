"""The trigger's policy file: what cannot be meant is refused by name; quiet hours follow the zone."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from fairtag.base.errors import ConfigError
from fairtag.base.types import Status
from monitoring.job_report import Check, JobReport
from monitoring.trigger.trigger_policy import QuietHours, TriggerPolicy, read_policy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cooldown_hours": -1}, "cooldown_hours"),
        ({"when": {"drift": ["unknown"]}}, "cannot call for a run"),
        ({"when": {"drift": ["page"]}}, "when.drift.0: 'page' is refused; it must be .*'urgent'"),  # its name before
        ({"when": {"drift/weather": ["warn"]}}, "there is no check weather; docs/operations.md lists all checks$"),
        ({"quiet_hours": {"start": "22:00", "end": "06:00", "timezone": "Mars"}}, "not an IANA time zone"),
        ({"target": {"kind": "local", "command": []}}, "command"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_policies_that_cannot_be_meant_are_refused_by_name(tmp_path, changes, message):
    document = {"schema": "fairtag.trigger-policy/1", "target": {"kind": "local", "command": ["true"]}, **changes}
    (tmp_path / "policy.yaml").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=message):
        read_policy(tmp_path / "policy.yaml")


def test_a_check_may_ask_by_itself_and_goes_before_its_job():
    found = [Check(name, Status.WARN, "said") for name in ("unknown_items", "price_level")]
    report = JobReport("drift", "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", tuple(found))
    document = {"schema": "fairtag.trigger-policy/1", "target": {"kind": "local", "command": ["true"]}}
    asks = {
        "urgent": {"drift": ["urgent"]},
        "one": {"drift": ["urgent"], "drift/unknown_items": ["warn", "urgent"]},
        "all but one": {"drift": ["warn"], "drift/price_level": ["urgent"]},
    }
    called = {
        name: TriggerPolicy.model_validate({**document, "when": when}).calls(report) for name, when in asks.items()
    }
    assert called == {"urgent": (), "one": ("unknown_items",), "all but one": ("unknown_items",)}


def test_quiet_hours_span_midnight_and_follow_the_zone():
    berlin = QuietHours.model_validate({"start": "22:00", "end": "06:00", "timezone": "Europe/Berlin"})
    assert berlin.hold(datetime(2026, 7, 1, 20, 30, tzinfo=UTC))  # 22:30 in summer
    assert not berlin.hold(datetime(2026, 1, 10, 20, 30, tzinfo=UTC))  # 21:30 in winter
    assert not berlin.hold(datetime(2026, 1, 10, 5, 30, tzinfo=UTC))
    noon = QuietHours.model_validate({"start": "12:00", "end": "13:00"})
    assert [noon.hold(datetime(2026, 1, 1, h, 30, tzinfo=UTC)) for h in (11, 12, 13)] == [False, True, False]
