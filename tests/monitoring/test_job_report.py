"""A job report: its status, its fingerprint, and what may not decide."""

from __future__ import annotations

import pytest

from fairtag.base.errors import DataError
from fairtag.base.files import read_json, write_json
from fairtag.base.types import Status, worst
from monitoring.job_report import Check, JobReport, read_report


def test_the_fingerprint_is_of_the_finding_and_not_of_the_window():
    found = Check("price_level", Status.URGENT, "up", change=0.1)
    first = JobReport("drift", "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", (found,), ("v1",))
    later = JobReport("drift", "2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00", (found,), ("v1",))
    other = JobReport("drift", "2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00", (found,), ("v2",))
    assert first.fingerprint == later.fingerprint != other.fingerprint


def test_a_report_without_a_deciding_check_is_no_pass(report):
    assert worst([]) is Status.UNKNOWN
    assert JobReport("drift", "", "", ()).status is Status.UNKNOWN
    assert report(Check("price_gap:a x b", Status.UNKNOWN, "small", decides=False)).status is Status.UNKNOWN


def test_only_an_unknown_check_may_not_decide(report):
    cell = Check("price_gap:age x income", Status.UNKNOWN, "too small", "65+ x low", decides=False)
    whole = report(Check("price_gap:age", Status.PASS, "fine"), cell, job="fairness")
    assert whole.failing == ()
    assert whole.not_judged == (cell,)
    for status in (Status.PASS, Status.WARN, Status.URGENT):
        with pytest.raises(ValueError, match="only an unknown check may be left out"):
            Check("price_gap:age", status, "said", decides=False)


def test_a_report_survives_its_file_and_names_its_schema_and_exit_code(report, up, tmp_path):
    written = report(up, Check("traffic", Status.PASS, "fine"))
    path = written.save(tmp_path / "drift.json")
    document = read_json(path)
    assert (document["schema"], document["status"], document["exit_code"]) == ("fairtag.job-report/1", "urgent", 2)
    assert document["checks"][0]["urgent_at"] == 0.03
    assert read_report(path) == written


def test_a_report_of_another_schema_or_with_an_altered_status_is_refused(report, up, tmp_path):
    document = report(up).as_json()
    with pytest.raises(DataError, match="altered"):
        read_report(write_json(tmp_path / "forged.json", {**document, "status": "pass"}))
    with pytest.raises(DataError, match="run the job again"):
        read_report(write_json(tmp_path / "old.json", {**document, "schema": "fairtag.verdict/1"}))
