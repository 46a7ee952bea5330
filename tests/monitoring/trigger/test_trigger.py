"""The trigger: once a finding, within its limits, under a lock, and never lost."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock

from fairtag.base.errors import UnavailableError
from fairtag.base.types import Status
from monitoring.__main__ import main
from monitoring.job_report import Check, JobReport
from monitoring.trigger.targets import Local, Run, RunRequest
from monitoring.trigger.trigger import Trigger
from monitoring.trigger.trigger_policy import LocalTarget, TriggerPolicy

NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)


def report(job="drift", status=Status.URGENT, name="price_level", end=NOW, model="v1"):
    check = Check(name, status, "price is up", change=0.1)
    return JobReport(job, (end - timedelta(hours=24)).isoformat(), end.isoformat(), (check,), (model,))


def policy(**changes):
    settings = {"schema": "fairtag.trigger-policy/1", "target": {"kind": "local", "command": ["true"]}, **changes}
    return TriggerPolicy.model_validate(settings)


class Recorder:
    """A target that remembers what it was asked, and fails as often as told."""

    def __init__(self, failures=0):
        self.requests: list[RunRequest] = []
        self.failures = failures

    def start(self, request):
        self.requests.append(request)
        if len(self.requests) <= self.failures:
            raise UnavailableError("the cluster is away")
        return Run(f"run-of-{request.name}")


def trigger(tmp_path, target=None, **changes):
    target = target or Recorder()
    return Trigger(policy(**changes), tmp_path / "trigger", target, wait_seconds=0.0), target


def events(made):
    return [entry.event for entry in made.ledger.entries()]


def test_an_urgent_finding_starts_one_run_with_its_reason_and_evidence(tmp_path):
    made, target = trigger(tmp_path)
    decision = made.call([report()], NOW)
    assert decision.event == "started"
    assert decision.run == f"run-of-{target.requests[0].name}"
    assert target.requests[0].reason == "drift is urgent: price_level"
    assert target.requests[0].evidence["reports"][0]["checks"][0]["name"] == "price_level"
    assert events(made) == ["due", "started"]


@pytest.mark.parametrize(
    "quiet",
    [
        report(status=Status.WARN),
        report(status=Status.UNKNOWN),
        report(job="fairness", name="price_gap:income"),
        report(end=NOW - timedelta(hours=72)),
    ],
    ids=["warning", "cannot tell", "a job that is not named", "an old window"],
)
def test_what_the_policy_does_not_name_starts_nothing(tmp_path, quiet):
    made, target = trigger(tmp_path)
    assert made.call([quiet], NOW).event == "nothing"
    assert not target.requests
    assert events(made) == []


def test_the_same_finding_starts_one_run_however_often_it_is_reported(tmp_path):
    made, target = trigger(tmp_path, cooldown_hours=0)
    for hour in range(5):
        now = NOW + timedelta(hours=hour)
        made.call([report(end=now)], now)
    assert len(target.requests) == 1
    assert events(made) == ["due", "started", *["skipped"] * 4]
    assert made.call([report(end=NOW + timedelta(days=8))], NOW + timedelta(days=8)).event == "started"


def test_the_cooldown_holds_back_another_finding(tmp_path):
    made, _ = trigger(tmp_path, cooldown_hours=6)
    made.call([report()], NOW)
    other = report(name="new_words")
    soon = made.call([other], NOW + timedelta(hours=5))
    assert soon.event == "skipped"
    assert "cooldown of 6 h" in soon.reason
    assert made.call([other], NOW + timedelta(hours=7)).event == "started"


def test_the_cap_holds_for_any_day(tmp_path):
    made, target = trigger(tmp_path, cooldown_hours=0, max_per_day=2)
    found = [made.call([report(name=f"check{k}")], NOW + timedelta(hours=k)) for k in range(4)]
    assert [decision.event for decision in found] == ["started", "started", "skipped", "skipped"]
    assert "the limit is 2" in found[2].reason
    assert made.call([report(name="check9")], NOW + timedelta(hours=25)).event == "started"
    assert len(target.requests) == 3


def test_in_quiet_hours_a_start_waits_and_is_not_lost(tmp_path):
    hours = {"start": "22:00", "end": "06:00", "timezone": "Europe/Berlin"}
    made, target = trigger(tmp_path, quiet_hours=hours)
    night = datetime(2026, 2, 10, 23, 30, tzinfo=UTC)
    assert made.call([report(end=night)], night).event == "waiting"
    assert made.call([], night + timedelta(hours=1)).event == "waiting"
    assert not target.requests
    assert made.call([], night + timedelta(hours=8)).event == "started"
    assert len(target.requests) == 1


def test_a_dry_run_decides_and_records_and_starts_nothing(tmp_path):
    made, target = trigger(tmp_path, dry_run=True)
    assert made.call([report()], NOW).event == "would_start"
    assert not target.requests
    assert events(made) == ["would_start"]


def test_a_target_that_is_down_is_tried_again_and_then_by_the_next_call(tmp_path):
    made, target = trigger(tmp_path, Recorder(failures=4), attempts=3)
    assert made.call([report()], NOW).event == "failed"
    assert len(target.requests) == 3
    later = made.call([], NOW + timedelta(hours=1))  # the reports have passed again; the start is still due
    assert later.event == "started"
    assert events(made) == ["due", "failed", "started"]
    assert len({request.name for request in target.requests}) == 1


def test_a_crash_between_decision_and_start_loses_nothing(tmp_path):
    class Crash(Recorder):
        def start(self, request):
            raise KeyboardInterrupt

    made, _ = trigger(tmp_path, Crash())
    with pytest.raises(KeyboardInterrupt):
        made.call([report()], NOW)
    again, target = trigger(tmp_path)
    assert again.call([], NOW + timedelta(minutes=5)).event == "started"
    assert len(target.requests) == 1


def test_two_triggers_at_once_start_one_run(tmp_path):
    entered, release = threading.Event(), threading.Event()

    class Slow(Recorder):
        def start(self, request):
            entered.set()
            release.wait(10)
            return super().start(request)

    first, slow = trigger(tmp_path, Slow())
    second, other = trigger(tmp_path)
    worker = threading.Thread(target=first.call, args=([report()], NOW))
    worker.start()
    entered.wait(10)
    assert second.call([report()], NOW).event == "busy"
    release.set()
    worker.join(10)
    assert (len(slow.requests), len(other.requests)) == (1, 0)
    assert second.call([report()], NOW).event == "skipped"


def test_a_lock_left_by_a_dead_process_does_not_block(tmp_path):
    made, _ = trigger(tmp_path)
    (tmp_path / "trigger").mkdir()
    with FileLock(tmp_path / "trigger" / "trigger.lock"):
        pass
    assert made.call([report()], NOW).event == "started"


def test_a_rejected_model_is_no_failure_and_the_ledger_says_that_the_champion_stays(tmp_path):
    target = Local(LocalTarget(command=(sys.executable, "-c", "import sys; print('page_value: fail'); sys.exit(5)")))
    made, _ = trigger(tmp_path, target)
    assert made.call([report()], NOW).event == "started"
    assert events(made) == ["due", "started", "finished"]
    assert made.ledger.entries()[-1].reason == "rejected; the champion stays page_value: fail"
    assert made.call([report()], NOW + timedelta(hours=1)).event == "skipped"


def test_the_command_line_starts_once_and_shows_it_on_the_report(tmp_path, capsys):
    end = datetime.now(UTC)
    report(end=end).save(tmp_path / "out" / "drift.json")
    document = {
        "schema": "fairtag.trigger-policy/1",
        "target": {"kind": "local", "command": [sys.executable, "-c", ""]},
    }
    (tmp_path / "policy.yaml").write_text(json.dumps(document))
    call = ["trigger", "--policy", str(tmp_path / "policy.yaml"), "--out", str(tmp_path / "out"),
            "--ledger", str(tmp_path / "ledger")]  # fmt: skip
    assert main(call) == 0
    assert main(call) == 0
    output = capsys.readouterr().out
    assert output.count("started: drift is urgent: price_level") == 1
    assert "skipped: the same finding started" in output
    page = (tmp_path / "out" / "report.html").read_text()
    assert "started" in page
    assert "retrain-" in page


def test_without_reports_the_trigger_says_so(tmp_path, capsys):
    document = {"schema": "fairtag.trigger-policy/1", "target": {"kind": "local", "command": ["true"]}}
    (tmp_path / "policy.yaml").write_text(json.dumps(document))
    assert (
        main(["trigger", "--policy", str(tmp_path / "policy.yaml"), "--out", str(tmp_path), "--ledger", str(tmp_path)])
        == 3
    )
    assert "no job report here" in capsys.readouterr().err
