"""All jobs in one run: a quiet day passes, and jobs that run one at a time share their report and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monitoring import runner
from monitoring.__main__ import main
from monitoring.job_report import JobReport, read_report


@pytest.mark.slow
def test_a_quiet_day_passes_every_job(shop, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("maturity_hours: 2\n")
    quotes, outcomes = shop.log(pages=6_000)
    more = ("--outcomes", str(outcomes), "--settings", str(settings))
    out = tmp_path / "out"
    options = [*shop.fairness(quotes, out, *more)]
    assert main(["all", *options[1:]]) == 0, [c for j in ("drift", "performance", "fairness", "quality")
                                              for c in read_report(out / f"{j}.json").failing]  # fmt: skip
    assert "All quiet" in (out / "report.html").read_text()
    assert 'fairtag_monitoring_status{job="drift"} 0.0' in (out / "metrics.prom").read_text()


def test_one_job_at_a_time_leaves_the_report_and_the_metrics_of_all(shop, tmp_path):
    quotes, _ = shop.log()
    main(shop.options(quotes, tmp_path / "out"))
    main(["quality", *shop.options(quotes, tmp_path / "out")[1:]])
    assert all(f'id="job-{job}"' in (tmp_path / "out" / "report.html").read_text() for job in ("drift", "quality"))
    metrics = (tmp_path / "out" / "metrics.prom").read_text()
    assert all(f'fairtag_monitoring_status{{job="{job}"}}' in metrics for job in ("drift", "quality"))


@dataclass(frozen=True)
class Given:
    """As much of a job's inputs as the runner reads."""

    out: Path
    say: Any = None


def test_each_job_is_named_as_it_begins_and_says_what_takes_long(monkeypatch, tmp_path):
    said = []

    def run(name, inputs, *, alone):
        assert said[-1].startswith(name)
        inputs.say(f"{name}: the longest part")
        return JobReport(name, "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", ())

    monkeypatch.setattr(runner, "_run", run)
    runner.run_jobs(("drift", "quality"), Given(tmp_path), said.append)
    assert said == [
        "drift, job 1 of 2",
        "drift: the longest part",
        "quality, job 2 of 2",
        "quality: the longest part",
    ]
