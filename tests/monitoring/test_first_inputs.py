"""An hourly job with nothing to read yet waits, in words and without alarm; what it once had must stay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from fairtag.base.types import Status
from monitoring.__main__ import main
from monitoring.first_inputs import NEEDED, has_files
from monitoring.job_report import read_report
from monitoring.report.alerts import read_alerts
from monitoring.runner import JOBS


@pytest.fixture
def hourly(shop, tmp_path):
    """Runs a job as its CronJob does, over inputs that may be absent; returns its exit code and its report."""
    places = {
        "quotes": tmp_path / "store" / "quotes",
        "model": tmp_path / "mnt" / "model",
        "outcomes": tmp_path / "store" / "outcomes",
        "audit": tmp_path / "mnt" / "groups.parquet",
        "tables": tmp_path / "mnt" / "tables",
    }

    def run(job, *more):
        line = [job, "--quotes", str(places["quotes"]), "--model-folder", str(places["model"])]
        line += ["--out", str(tmp_path / "out"), "--state", str(tmp_path / "state"), "--end", "2026-02-10T00:00:00Z"]
        options = {
            "performance": ["--outcomes", str(places["outcomes"])],
            "fairness": ["--audit", str(places["audit"]), "--secret", str(shop.secret)],
            "stock": ["--tables", str(places["tables"])],
        }
        code = main([*line, "--no-evidently", *options.get(job, []), *more])
        return code, read_report(tmp_path / "out" / f"{job}.json")

    run.places = places
    run.alerts = lambda: read_alerts(tmp_path / "state" / "alerts.json")
    run.metrics = (tmp_path / "out" / "metrics.prom").read_text
    run.page = (tmp_path / "out" / "report.html").read_text
    return run


def test_every_job_names_what_it_cannot_do_without():
    assert set(NEEDED) == set(JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_on_a_new_installation_every_job_waits_and_nothing_is_an_alarm(hourly, job, capsys):
    code, report = hourly(job)
    assert (code, report.status) == (0, Status.UNKNOWN), "waiting is neither a failure nor a pass"
    assert report.waiting.startswith("waiting for the first ")
    assert report.failing == ()
    assert f"WAITING  {job}: waiting for the first " in capsys.readouterr().out
    assert hourly.alerts() == {}
    assert "fairtag_monitoring_check{" not in hourly.metrics(), "the alert rules watch the checks that decide"
    assert "Waiting for the first" in hourly.page() or "waiting for the first" in hourly.page()


def test_a_job_names_each_input_that_it_waits_for_and_goes_on_when_the_last_one_comes(hourly, shop, tmp_path):
    shutil.copytree(shop.profile, hourly.places["model"])
    _, report = hourly("performance")
    assert "waiting for the first quotes: nothing is at" in report.waiting
    assert "waiting for the first outcomes: nothing is at" in report.waiting
    assert "model" not in report.waiting
    quotes, outcomes = shop.log()
    shutil.copytree(quotes, hourly.places["quotes"])
    assert hourly("performance")[1].waiting.startswith("waiting for the first outcomes: ")
    shutil.copytree(outcomes, hourly.places["outcomes"])
    mature = tmp_path / "settings.yaml"
    mature.write_text("maturity_hours: 1\n")
    assert hourly("performance", "--settings", str(mature))[1].waiting == ""


@pytest.mark.parametrize("name", ["quotes", "model"])
def test_an_input_that_was_there_and_is_gone_is_an_alarm(hourly, shop, name):
    shutil.copytree(shop.profile, hourly.places["model"])
    shutil.copytree(shop.log()[0], hourly.places["quotes"])
    hourly("drift")
    shutil.rmtree(hourly.places[name])
    code, report = hourly("drift")
    assert (code, report.status, report.waiting) == (3, Status.UNKNOWN, "")
    (check,) = report.failing
    assert check.summary.startswith(f"the {name} at {hourly.places[name]} are gone; they were there since ")
    assert set(hourly.alerts()) >= {"drift/inputs"}
    assert 'fairtag_monitoring_check{check="inputs",component="",job="drift"} 3.0' in hourly.metrics()


def test_too_few_pages_are_waited_for_once_and_an_alarm_afterwards(hourly, shop):
    shutil.copytree(shop.profile, hourly.places["model"])
    shutil.copytree(shop.log(pages=40, name="few")[0], hourly.places["quotes"])
    code, report = hourly("quality")
    assert (code, report.status) == (0, Status.UNKNOWN)
    assert report.waiting == "waiting for the first pages: 40 pages in the window, 100 needed"
    assert hourly.alerts() == {}
    shutil.copytree(shop.log()[0], hourly.places["quotes"], dirs_exist_ok=True)
    assert hourly("quality")[1].waiting == ""
    shutil.rmtree(hourly.places["quotes"])
    shutil.copytree(shop.log(pages=40, name="few")[0], hourly.places["quotes"])
    code, report = hourly("quality")
    assert (code, report.waiting) == (3, "")
    assert "quality/traffic" in hourly.alerts()


def test_few_pages_hide_no_finding(hourly, shop):
    quotes = pd.read_parquet(shop.log(pages=40, name="few")[0])
    doubled = shop.write(pd.concat([quotes, quotes]), "doubled")
    shutil.copytree(doubled, hourly.places["quotes"])
    code, report = hourly("quality")
    assert (code, report.waiting) == (2, "")


def test_a_single_look_waits_for_nothing(shop, tmp_path, capsys):
    line = ["drift", "--quotes", str(tmp_path / "none"), "--model-folder", str(tmp_path / "none")]
    assert main([*line, "--out", str(tmp_path / "out")]) == 3
    assert "no model folder there" in capsys.readouterr().err


def test_the_trigger_waits_for_the_first_report_and_misses_a_later_one(tmp_path, capsys):
    policy = tmp_path / "policy.yaml"
    policy.write_text("schema: fairtag.trigger-policy/1\ntarget: {kind: local, command: ['true']}\n")
    line = ["trigger", "--wait", "--policy", str(policy), "--out", str(tmp_path / "out")]
    line += ["--ledger", str(tmp_path / "ledger")]
    assert main(line) == 0
    assert "waiting: no job has left a report" in capsys.readouterr().out
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "ledger.jsonl").write_text("")
    assert main(line) == 3


def test_a_store_is_asked_for_the_first_file_and_not_for_folders_that_a_store_has_not(tmp_path):
    assert not has_files(str(tmp_path / "none"))
    assert not has_files("memory://nothing-here")
    assert not has_files(str(tmp_path))
    Path(tmp_path / "quotes.parquet").write_text("")
    assert has_files(str(tmp_path))
