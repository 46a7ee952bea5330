"""The trigger: once a finding, within its limits, under a lock, and never lost."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from filelock import FileLock

from monitoring.__main__ import main
from monitoring.ledger import Entry, Ledger
from monitoring.policy import KubeflowTarget, LocalTarget, QuietHours, TriggerPolicy, read_policy
from monitoring.targets import Kubeflow, Local, Request, Started
from monitoring.trigger import Trigger
from monitoring.verdict import Check, Verdict
from pricing.errors import ConfigError, DataError, UnavailableError
from pricing.files import canonical_json, read_json, sha256_text
from pricing.verdict import Verdict as Status

NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)


def verdict(job="drift", status=Status.PAGE, name="price_level", end=NOW, model="v1"):
    check = Check(name, status, "price is up", change=0.1)
    return Verdict(job, (end - timedelta(hours=24)).isoformat(), end.isoformat(), (check,), (model,))


def policy(**changes):
    settings = {"schema": "fairtag.trigger-policy/1", "target": {"kind": "local", "command": ["true"]}, **changes}
    return TriggerPolicy.model_validate(settings)


class Recorder:
    """A target that remembers what it was asked, and fails as often as told."""

    def __init__(self, failures=0):
        self.requests: list[Request] = []
        self.failures = failures

    def start(self, request):
        self.requests.append(request)
        if len(self.requests) <= self.failures:
            raise UnavailableError("the cluster is away")
        return Started(f"run-of-{request.name}")


def trigger(tmp_path, target=None, **changes):
    target = target or Recorder()
    return Trigger(policy(**changes), tmp_path / "trigger", target, wait_seconds=0.0), target


def events(made):
    return [entry.event for entry in made.ledger.entries()]


def test_a_page_starts_one_run_with_its_reason_and_evidence(tmp_path):
    made, target = trigger(tmp_path)
    decision = made.call([verdict()], NOW)
    assert decision.event == "started"
    assert decision.run == f"run-of-{target.requests[0].name}"
    assert target.requests[0].reason == "drift says page: price_level"
    assert target.requests[0].evidence["verdicts"][0]["checks"][0]["name"] == "price_level"
    assert events(made) == ["due", "started"]


@pytest.mark.parametrize(
    "quiet",
    [
        verdict(status=Status.WARN),
        verdict(status=Status.COULD_NOT_TELL),
        verdict(job="fairness", name="price_gap:income"),
        verdict(end=NOW - timedelta(hours=72)),
    ],
    ids=["warning", "could not tell", "a job that is not named", "an old window"],
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
        made.call([verdict(end=now)], now)
    assert len(target.requests) == 1
    assert events(made) == ["due", "started", *["skipped"] * 4]
    assert made.call([verdict(end=NOW + timedelta(days=8))], NOW + timedelta(days=8)).event == "started"


def test_the_cooldown_holds_back_another_finding(tmp_path):
    made, _ = trigger(tmp_path, cooldown_hours=6)
    made.call([verdict()], NOW)
    other = verdict(name="new_words")
    soon = made.call([other], NOW + timedelta(hours=5))
    assert soon.event == "skipped"
    assert "cooldown of 6 h" in soon.reason
    assert made.call([other], NOW + timedelta(hours=7)).event == "started"


def test_the_cap_holds_for_any_day(tmp_path):
    made, target = trigger(tmp_path, cooldown_hours=0, max_per_day=2)
    found = [made.call([verdict(name=f"check{k}")], NOW + timedelta(hours=k)) for k in range(4)]
    assert [decision.event for decision in found] == ["started", "started", "skipped", "skipped"]
    assert "the cap is 2" in found[2].reason
    assert made.call([verdict(name="check9")], NOW + timedelta(hours=25)).event == "started"
    assert len(target.requests) == 3


def test_in_quiet_hours_a_start_waits_and_is_not_lost(tmp_path):
    hours = {"start": "22:00", "end": "06:00", "timezone": "Europe/Berlin"}
    made, target = trigger(tmp_path, quiet_hours=hours)
    night = datetime(2026, 2, 10, 23, 30, tzinfo=UTC)
    assert made.call([verdict(end=night)], night).event == "waiting"
    assert made.call([], night + timedelta(hours=1)).event == "waiting"
    assert not target.requests
    assert made.call([], night + timedelta(hours=8)).event == "started"
    assert len(target.requests) == 1


def test_a_dry_run_decides_and_records_and_starts_nothing(tmp_path):
    made, target = trigger(tmp_path, dry_run=True)
    assert made.call([verdict()], NOW).event == "would_start"
    assert not target.requests
    assert events(made) == ["would_start"]


def test_a_target_that_is_down_is_tried_again_and_then_by_the_next_call(tmp_path):
    made, target = trigger(tmp_path, Recorder(failures=4), attempts=3)
    assert made.call([verdict()], NOW).event == "failed"
    assert len(target.requests) == 3
    later = made.call([], NOW + timedelta(hours=1))  # the verdicts have passed again; the start is still due
    assert later.event == "started"
    assert events(made) == ["due", "failed", "started"]
    assert len({request.name for request in target.requests}) == 1


def test_a_crash_between_decision_and_start_loses_nothing(tmp_path):
    class Crash(Recorder):
        def start(self, request):
            raise KeyboardInterrupt

    made, _ = trigger(tmp_path, Crash())
    with pytest.raises(KeyboardInterrupt):
        made.call([verdict()], NOW)
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
    worker = threading.Thread(target=first.call, args=([verdict()], NOW))
    worker.start()
    entered.wait(10)
    assert second.call([verdict()], NOW).event == "busy"
    release.set()
    worker.join(10)
    assert (len(slow.requests), len(other.requests)) == (1, 0)
    assert second.call([verdict()], NOW).event == "skipped"


def test_a_lock_left_by_a_dead_process_does_not_block(tmp_path):
    made, _ = trigger(tmp_path)
    (tmp_path / "trigger").mkdir()
    with FileLock(tmp_path / "trigger" / "trigger.lock"):
        pass
    assert made.call([verdict()], NOW).event == "started"


def test_the_ledger_shows_when_it_was_altered(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for k in range(3):
        ledger.append(Entry(NOW.isoformat(), "skipped", f"r{k}", "why"))
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    for altered in (
        [lines[0], lines[1].replace("why", "because"), lines[2]],
        [lines[0], lines[2]],
        [lines[1], lines[0], lines[2]],
        [lines[0], "{", lines[2]],
    ):
        (tmp_path / "ledger.jsonl").write_text("\n".join(altered) + "\n")
        with pytest.raises(DataError, match="altered"):
            ledger.entries()


def test_a_line_that_a_crash_cut_off_is_dropped_and_the_ledger_goes_on(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(Entry(NOW.isoformat(), "due", "r0", "why"))
    with (tmp_path / "ledger.jsonl").open("a") as stream:
        stream.write('{"at": "2026')
    assert len(ledger.entries()) == 1
    ledger.append(Entry(NOW.isoformat(), "started", "r0", "why"))
    assert [entry.event for entry in ledger.entries()] == ["due", "started"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cooldown_hours": -1}, "cooldown_hours"),
        ({"when": {"drift": ["unknown"]}}, "cannot ask for a run"),
        ({"quiet_hours": {"start": "22:00", "end": "06:00", "timezone": "Mars"}}, "no IANA time zone"),
        ({"target": {"kind": "local", "command": []}}, "command"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_policies_that_cannot_be_meant_are_refused_by_name(tmp_path, changes, message):
    document = {"schema": "fairtag.trigger-policy/1", "target": {"kind": "local", "command": ["true"]}, **changes}
    (tmp_path / "policy.yaml").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=message):
        read_policy(tmp_path / "policy.yaml")


def test_quiet_hours_span_midnight_and_follow_the_zone():
    berlin = QuietHours.model_validate({"start": "22:00", "end": "06:00", "timezone": "Europe/Berlin"})
    assert berlin.hold(datetime(2026, 7, 1, 20, 30, tzinfo=UTC))  # 22:30 in summer
    assert not berlin.hold(datetime(2026, 1, 10, 20, 30, tzinfo=UTC))  # 21:30 in winter
    assert not berlin.hold(datetime(2026, 1, 10, 5, 30, tzinfo=UTC))
    noon = QuietHours.model_validate({"start": "12:00", "end": "13:00"})
    assert [noon.hold(datetime(2026, 1, 1, h, 30, tzinfo=UTC)) for h in (11, 12, 13)] == [False, True, False]


def request(tmp_path):
    return Request("retrain-1", "drift says page", {"why": 1}, tmp_path)


def test_the_local_target_runs_the_command_with_reason_and_evidence(tmp_path):
    script = "import sys, json, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2] + open(sys.argv[3]).read())"
    command = (sys.executable, "-c", script, str(tmp_path / "ran"), "{run_name}: {reason} ", "{evidence}")
    assert Local(LocalTarget(command=command)).start(request(tmp_path)) == Started("retrain-1", "accepted")
    assert (tmp_path / "ran").read_text().startswith("retrain-1: drift says page {")


def test_a_rejected_model_is_no_failure_and_the_ledger_says_that_the_champion_stays(tmp_path):
    target = Local(LocalTarget(command=(sys.executable, "-c", "import sys; print('page_value: fail'); sys.exit(5)")))
    made, _ = trigger(tmp_path, target)
    assert made.call([verdict()], NOW).event == "started"
    assert events(made) == ["due", "started", "finished"]
    assert made.ledger.entries()[-1].reason == "rejected; the champion stays page_value: fail"
    assert made.call([verdict()], NOW + timedelta(hours=1)).event == "skipped"


@pytest.mark.parametrize("command", [(sys.executable, "-c", "import sys; sys.exit('no disk')"), ("/no/such/program",)])
def test_a_command_that_fails_says_why(tmp_path, command):
    with pytest.raises(UnavailableError, match=r"no disk|No such file"):
        Local(LocalTarget(command=command)).start(request(tmp_path))


class FakeKubeflow:
    """The calls of kfp.Client that the target makes."""

    def __init__(self, runs=(), pipeline="p1", versions=("ver2", "ver1")):
        self.runs = [SimpleNamespace(run_id=run, display_name=name) for run, name in runs]
        self.pipeline, self.versions, self.submitted = pipeline, versions, []

    def create_experiment(self, name, namespace=None):
        return SimpleNamespace(experiment_id=f"exp-{name}")

    def list_runs(self, **_):
        return SimpleNamespace(runs=self.runs)

    def get_pipeline_id(self, name):
        return self.pipeline

    def list_pipeline_versions(self, pipeline, **_):
        return SimpleNamespace(pipeline_versions=[SimpleNamespace(pipeline_version_id=v) for v in self.versions])

    @property
    def _run_api(self):
        return self

    def run_service_create_run(self, run):
        self.submitted.append(run)
        return SimpleNamespace(run_id="run-7")


KUBEFLOW = KubeflowTarget(host="http://kfp", pipeline="fairtag", parameters={"reason": "{reason}"})


def test_kubeflow_runs_the_newest_version_with_the_reason_as_a_parameter(tmp_path):
    client = FakeKubeflow()
    assert Kubeflow(KUBEFLOW, client).start(request(tmp_path)) == Started("run-7")
    submitted = client.submitted[0]
    assert submitted.pipeline_version_reference.pipeline_version_id == "ver2"
    assert (submitted.display_name, submitted.experiment_id) == ("retrain-1", "exp-fairtag")
    assert submitted.runtime_config.parameters == {"reason": "drift says page"}
    assert submitted.description.startswith("drift says page. Checks: none. Evidence sha256:")
    assert "retrain-1.json" in submitted.description


def test_the_evidence_of_a_run_on_kubeflow_is_the_file_that_its_description_names(tmp_path):
    client = FakeKubeflow()
    Kubeflow(KUBEFLOW, client).start(request(tmp_path))
    evidence = read_json(tmp_path / "retrain-1.json")
    assert sha256_text(canonical_json(evidence)) in client.submitted[0].description


def test_kubeflow_does_not_start_a_run_of_the_same_name_twice(tmp_path):
    client = FakeKubeflow(runs=[("run-3", "retrain-1")])
    assert Kubeflow(KUBEFLOW, client).start(request(tmp_path)) == Started("run-3")
    assert not client.submitted


@pytest.mark.parametrize(
    ("client", "message"),
    [(FakeKubeflow(pipeline=None), "no pipeline"), (FakeKubeflow(versions=()), "no version"), (object(), "Attribute")],
)
def test_kubeflow_that_cannot_run_says_why(tmp_path, client, message):
    with pytest.raises(UnavailableError, match=message):
        Kubeflow(KUBEFLOW, client).start(request(tmp_path))


def test_the_command_line_starts_once_and_shows_it_on_the_report(tmp_path, capsys):
    end = datetime.now(UTC)
    verdict(end=end).save(tmp_path / "out" / "drift.json")
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
    assert output.count("started: drift says page: price_level") == 1
    assert "skipped: this finding already started" in output
    page = (tmp_path / "out" / "report.html").read_text()
    assert "started" in page
    assert "retrain-" in page


def test_without_verdicts_the_trigger_says_so(tmp_path, capsys):
    document = {"schema": "fairtag.trigger-policy/1", "target": {"kind": "local", "command": ["true"]}}
    (tmp_path / "policy.yaml").write_text(json.dumps(document))
    assert (
        main(["trigger", "--policy", str(tmp_path / "policy.yaml"), "--out", str(tmp_path), "--ledger", str(tmp_path)])
        == 3
    )
    assert "no verdict there" in capsys.readouterr().err
