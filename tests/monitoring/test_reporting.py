"""The report, the alerts, the metrics and the rules: what leaves the jobs for people and for Prometheus."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from fairtag.base.errors import DataError, UnavailableError
from fairtag.base.types import Status
from monitoring.job_report import Check, JobReport
from monitoring.report.alerts import read_alerts, tell, update, write_alerts
from monitoring.report.charts import interval_chart, traffic_chart
from monitoring.report.exporter import alert_rules, push_metrics, write_metrics
from monitoring.report.html_page import figure, findings, render
from monitoring.report.knowledge import check_names, knowledge

NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)
RUNBOOK = Path(__file__).parents[2] / "docs" / "operations.md"
UP = Check(
    "price_level", Status.URGENT, "price of shoes is 6.2 % above training", "shoes",
    1.06, 1.0, 0.06, 0.05, 0.07, 0.01, 0.03, "log ratio", 9_000,
)  # fmt: skip


def verdict(*checks, job="drift"):
    return JobReport(
        job, (NOW - timedelta(hours=24)).isoformat(), NOW.isoformat(), checks, ("v1",), {"rows": 10, "kept": 9}
    )


def page(*verdicts, **more):
    return render(verdicts, now=NOW, runbook="docs/operations.md", **more)


def test_the_verdict_comes_first_and_says_what():
    html = page(verdict(UP))
    body = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    words = " ".join(body.split())
    assert words.index("Act now") < words.index("Price of shoes is 6.2 % above training") < words.index("Window")
    assert "+6.2 %" in words
    assert "9,000 quotes" in words
    assert "docs/operations.md#prices-moved" in html


@pytest.mark.parametrize(
    ("status", "headline"),
    [(Status.PASS, "All quiet"), (Status.WARN, "Look today"), (Status.UNKNOWN, "Cannot tell")],
)
def test_each_status_has_its_headline(status, headline):
    assert f"</span>{headline}</h1>" in page(verdict(Check("traffic", status, "said")))


def test_the_page_needs_nothing_from_anywhere():
    html = page(verdict(UP))
    assert not re.search(r"(src|href)=\"(https?:)?//", html)
    assert "<script" not in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_what_comes_from_the_data_cannot_write_html():
    evil = Check("price_level", Status.URGENT, "<script>alert(1)</script>", "<b>", examples=("<img src=x>",))
    html = page(verdict(evil))
    assert "<script>alert" not in html
    assert "<img" not in html


def test_components_of_one_check_are_one_finding():
    down = Check("price_level", Status.WARN, "price of hats is 2 % below training", "hats", change=-0.02)
    found = findings([verdict(UP, down), verdict(Check("log_of_quotes", Status.WARN, "late"), job="quality")], "r")
    assert [finding.check.name for finding in found] == ["price_level", "log_of_quotes"]
    assert found[0].also == ("price of hats is 2 % below training",)


@pytest.mark.parametrize(("listed", "who"), [(0.055, "so that the shop repriced"), (0.001, "so that the model")])
def test_a_price_and_what_moved_with_it_are_one_finding_that_says_who_did_it(listed, who):
    price = replace(UP, detail={"moved_with": {"list_price_level": listed}})
    list_price = replace(UP, name="list_price_level", status=Status.WARN, summary="list price of shoes is 5.7 % above")
    elsewhere = replace(list_price, name="unit_cost_level", component="hats", summary="unit cost of hats is 9 % above")
    found = findings([verdict(price, list_price, elsewhere)], "r")
    assert [finding.check.name for finding in found] == ["price_level", "unit_cost_level"]
    assert found[0].also == ("list price of shoes is 5.7 % above",)
    assert who in found[0].cause
    worse = replace(list_price, status=Status.URGENT)
    assert len(findings([verdict(replace(price, status=Status.WARN), worse)], "r")) == 2  # what is worse hides nowhere


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.05, "share", "+5.0 points"),
        (0.0583, "log ratio", "+6.0 %"),
        (-0.029, "relative price", "-2.9 %"),
        (2.0, "sd", "+2 sd"),
    ],
)
def test_figures_are_written_as_people_write_them(value, unit, text):
    assert figure(value, unit, signed=True) == text


def test_charts_keep_the_change_and_its_zones_in_view():
    chart = str(interval_chart(UP))
    positions = [float(x) for x in re.findall(r"left:([\d.]+)%", chart)]
    assert all(0 <= x <= 100 for x in positions)
    assert interval_chart(Check("traffic", Status.PASS, "fine")) == ""
    assert traffic_chart({"a": 1}) == ""
    assert str(traffic_chart({"a": 1, "b": 4})).count("<i ") == 2


def test_an_alert_is_told_once_then_daily_then_when_it_ends():
    told = []
    alerts = {}
    for hour in range(30):
        alerts, updates = update(alerts, [verdict(UP)], NOW + timedelta(hours=hour))
        told += [(hour, each.event) for each in updates]
    for hour in range(30, 36):
        alerts, updates = update(alerts, [verdict()], NOW + timedelta(hours=hour))
        told += [(hour, each.event) for each in updates]
    assert told == [(0, "new"), (24, "still"), (32, "ended")]
    assert alerts == {}


def test_a_flapping_finding_is_one_alert_and_a_worse_one_is_told():
    warn = Check("price_level", Status.WARN, "a little")
    alerts, told = {}, []
    for hour, checks in enumerate([(warn,), (), (warn,), (), (UP,), (warn,), (UP,)]):
        alerts, updates = update(alerts, [verdict(*checks)], NOW + timedelta(hours=hour))
        told += [each.event for each in updates]
    assert told == ["new", "worse"]


def test_an_alert_of_a_job_that_did_not_run_stays():
    alerts, _ = update({}, [verdict(UP)], NOW)
    for hour in range(5):
        alerts, updates = update(alerts, [verdict(job="quality")], NOW + timedelta(hours=hour))
        assert not updates
    assert "drift/price_level" in alerts


def test_open_alerts_survive_the_disk_and_damage_is_refused(tmp_path):
    alerts, _ = update({}, [verdict(UP)], NOW)
    assert read_alerts(write_alerts(alerts, tmp_path / "alerts.json")) == alerts
    assert read_alerts(tmp_path / "none.json") == {}
    (tmp_path / "alerts.json").write_text('{"schema": "fairtag.alerts/1", "alerts": [{}]}')
    with pytest.raises(DataError, match="remove the file"):
        read_alerts(tmp_path / "alerts.json")


def test_jobs_that_end_at_once_take_turns_with_the_open_alerts(tmp_path):
    path = tmp_path / "alerts.json"
    other = verdict(replace(UP, name="late"), job="quality")
    with FileLock(f"{path}.lock"):
        worker = threading.Thread(target=tell, args=(path, [other], NOW))
        worker.start()
        alerts, _ = update(read_alerts(path), [verdict(UP)], NOW)
        write_alerts(alerts, path)
    worker.join(10)
    assert set(read_alerts(path)) == {"drift/price_level", "quality/late"}


def test_metrics_are_written_for_the_text_file_collector(tmp_path):
    text = write_metrics([verdict(UP)], tmp_path / "fairtag.prom", NOW).read_text()
    assert 'fairtag_monitoring_check{check="price_level",component="shoes",job="drift"} 2.0' in text
    assert 'bound="low",check="price_level",component="shoes",job="drift"} 0.05' in text
    assert 'fairtag_monitoring_rows{job="drift",kind="kept"} 9.0' in text


def test_metrics_are_pushed_one_group_a_job():
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
        push_metrics([verdict(UP), verdict(job="quality")], f"127.0.0.1:{server.server_port}", NOW)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert paths == ["/metrics/job/fairtag-drift", "/metrics/job/fairtag-quality"]


def test_a_gateway_that_is_away_is_named():
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
        push_metrics([verdict(UP)], "127.0.0.1:9", NOW)


def test_every_alert_rule_leads_to_an_entry_of_the_runbook():
    entries = set(re.findall(r"^## (\S+)$", RUNBOOK.read_text(), flags=re.MULTILINE))
    rules = alert_rules("docs/operations.md")["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    linked = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in rules}
    assert linked <= entries
    assert yaml.safe_load(yaml.safe_dump(rules)) == rules


def test_every_runbook_entry_answers_the_five_questions():
    text = RUNBOOK.read_text()
    for entry in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        for question in ("Meaning", "First look", "Fix", "Rollback", "Wake"):
            assert f"**{question}.**" in entry, f"{entry.splitlines()[0]} lacks {question}"


def test_every_check_is_known_with_or_without_its_attribute():
    assert knowledge("price_gap:income x age").entry == "price-gap"
    for check in check_names():
        assert knowledge(check).title


def test_a_heading_speaks_of_the_direction():
    known = knowledge("price_level")
    headings = [known.heading(change) for change in (0.1, -0.1, None)]
    assert headings == [f"The same items cost {word} than in training" for word in ("more", "less", "more or less")]
    assert not any("|" in knowledge(check).heading() for check in check_names())


def test_what_is_left_out_of_the_verdict_is_said_and_can_only_be_unknown():
    cell = Check("price_gap:age x income", Status.UNKNOWN, "too small", "65+ x low", decides=False)
    left = {"groups": 1, "of": 9, "largest_gap_left_open": 0.031, "customers_needed": 940}
    said = verdict(Check("price_gap:age", Status.PASS, "fine"), cell, job="fairness")
    whole = JobReport("fairness", said.start, said.end, said.checks, detail={"not_judged": left})
    html = page(whole)
    assert "All quiet" in html
    assert "1 of 9 groups are crossings with too few customers" in html
    assert "+3.1" not in html
    assert "3.1 %" in html
    assert whole.failing == ()
    assert whole.not_judged == (cell,)
    for status in (Status.PASS, Status.WARN, Status.URGENT):
        with pytest.raises(ValueError, match="only what is unknown"):
            Check("price_gap:age", status, "said", decides=False)


def test_nothing_but_what_is_left_out_is_no_pass():
    assert verdict(Check("price_gap:a x b", Status.UNKNOWN, "small", decides=False)).status is (Status.UNKNOWN)


def test_what_does_not_decide_raises_no_alert_and_is_counted(tmp_path):
    cell = Check("price_gap:a x b", Status.UNKNOWN, "small", decides=False)
    said = verdict(Check("price_gap:a", Status.PASS, "fine"), cell, job="fairness")
    assert update({}, [said], NOW) == ({}, [])
    text = write_metrics([said], tmp_path / "m.prom", NOW).read_text()
    assert 'fairtag_monitoring_not_judged{job="fairness"} 1.0' in text
    assert "price_gap:a x b" not in text
