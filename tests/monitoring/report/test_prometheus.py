"""Metrics by file and by push gateway, and an alert rule for every check."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from fairtag.base.errors import UnavailableError
from fairtag.base.types import Status
from monitoring.job_report import Check
from monitoring.report.prometheus import alert_rules, push_metrics, write_metrics

NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)
RUNBOOK = Path(__file__).parents[3] / "docs" / "operations.md"


def test_metrics_are_written_for_the_text_file_collector(report, up, tmp_path):
    text = write_metrics([report(up)], tmp_path / "fairtag.prom", NOW).read_text()
    assert 'fairtag_monitoring_check{check="price_level",component="shoes",job="drift"} 2.0' in text
    assert 'bound="low",check="price_level",component="shoes",job="drift"} 0.05' in text
    assert 'fairtag_monitoring_rows{job="drift",kind="kept"} 9.0' in text


def test_metrics_are_pushed_one_group_a_job(report, up):
    paths = []

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self):
            paths.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        push_metrics([report(up), report(job="quality")], f"127.0.0.1:{server.server_port}", NOW)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert paths == ["/metrics/job/fairtag-drift", "/metrics/job/fairtag-quality"]


def test_a_gateway_that_is_away_is_named(report, up):
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
        push_metrics([report(up)], "127.0.0.1:9", NOW)


def test_what_does_not_decide_is_counted_and_has_no_status(report, tmp_path):
    cell = Check("price_gap:a x b", Status.UNKNOWN, "small", decides=False)
    reports = [report(Check("price_gap:a", Status.PASS, "fine"), cell, job="fairness")]
    text = write_metrics(reports, tmp_path / "m.prom", NOW).read_text()
    assert 'fairtag_monitoring_not_judged{job="fairness"} 1.0' in text
    assert "price_gap:a x b" not in text


def test_every_alert_rule_leads_to_a_section_of_the_runbook():
    entries = set(re.findall(r"^### (\S+)$", RUNBOOK.read_text(), flags=re.MULTILINE))
    rules = alert_rules("docs/operations.md")["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    linked = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in rules}
    assert linked <= entries
    assert yaml.safe_load(yaml.safe_dump(rules)) == rules


def test_an_urgent_status_is_the_only_one_that_wakes_somebody():
    rules = {rule["alert"]: rule for rule in alert_rules("docs/operations.md")["groups"][0]["rules"]}
    found = [
        (rules[f"FairtagPriceLevel{status}"]["labels"]["severity"], rules[f"FairtagPriceLevel{status}"]["expr"][-4:])
        for status in ("Urgent", "Unknown", "Warn")
    ]
    assert found == [("urgent", "= 2)"), ("ticket", "= 3)"), ("ticket", "= 1)")]
    assert rules["FairtagPriceLevelUnknown"]["annotations"]["summary"].startswith("Cannot tell: ")
