"""The HTML report: status first, one finding for each cause, figures with sign and unit, nothing loaded."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fairtag.base.types import Status
from monitoring.job_report import Check, JobReport
from monitoring.report.html_report import (
    FILE,
    figure,
    findings,
    interval,
    interval_chart,
    render,
    traffic_chart,
    write_html_report,
)

NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)


def html_of(*reports, **more):
    return render(reports, now=NOW, runbook="docs/operations.md", **more)


def test_the_status_comes_first_and_says_what(report, up):
    html = html_of(report(up))
    body = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    words = " ".join(body.split())
    assert words.index("Act now") < words.index("Price of shoes: +6.2 % against training") < words.index("Window")
    assert "+6.2 %" in words
    assert "9,000 quotes" in words
    assert "docs/operations.md#prices-moved" in html


@pytest.mark.parametrize(
    ("status", "headline"),
    [(Status.PASS, "All quiet"), (Status.WARN, "Look today"), (Status.UNKNOWN, "Cannot tell")],
)
def test_each_status_has_its_headline(report, status, headline):
    assert f"</span>{headline}</h1>" in html_of(report(Check("traffic", status, "said")))


def test_the_page_loads_nothing_from_elsewhere(report, up):
    html = html_of(report(up))
    assert not re.search(r"(src|href)=\"(https?:)?//", html)
    assert "<script" not in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def leads_to(html, folder):
    """What each link of a page leads to: files, and the anchors of this one."""
    ids = set(re.findall(r'id="([^"]+)"', html))
    links = [link.partition("#") for link in re.findall(r'href="([^"]+)"', html)]
    assert links
    return [(folder / file).resolve() if file else anchor in ids for file, _, anchor in links]


@pytest.mark.parametrize("where", ["reports", "deeper/run/reports"])
def test_every_link_works_from_where_the_report_lies(report, up, tmp_path, monkeypatch, where):
    out = tmp_path / where
    evidently = replace(report(up), detail={"links": {"evidently": "evidently-drift.html"}})
    out.mkdir(parents=True)
    (out / "evidently-drift.html").write_text("<p>")
    for place in (tmp_path, out):  # whatever the working directory is
        monkeypatch.chdir(place)
        html = write_html_report([evidently], out, now=NOW, runbook="docs/operations.md").read_text()
        found = leads_to(html, out)
        assert all(target is True or target.is_file() for target in found), found
        assert any(target is not True and target.name == "operations.md" for target in found)
    own = tmp_path / "runbook.md"
    own.write_text("# prices-moved")
    monkeypatch.chdir(tmp_path)
    html = write_html_report([evidently], out, now=NOW, runbook="runbook.md").read_text()
    assert own in leads_to(html, out)
    assert (
        "https://wiki/run#prices-moved"
        in write_html_report([evidently], out, now=NOW, runbook="https://wiki/run").read_text()
    )


def test_a_runbook_that_is_not_on_this_machine_is_named_and_not_linked(report, up, tmp_path):
    html = write_html_report([report(up)], tmp_path, now=NOW, runbook="no/such/file.md").read_text()
    assert "Runbook, section prices-moved" in html
    assert (tmp_path / FILE).is_file()
    assert "#prices-moved" not in html


def test_what_comes_from_the_data_cannot_write_html(report):
    evil = Check("price_level", Status.URGENT, "<script>alert(1)</script>", "<b>", examples=("<img src=x>",))
    html = html_of(report(evil))
    assert "<script>alert" not in html
    assert "<img" not in html


def test_components_of_one_check_are_one_finding(report, up):
    down = Check("price_level", Status.WARN, "price of hats is 2 % below training", "hats", change=-0.02)
    found = findings([report(up, down), report(Check("log_of_quotes", Status.WARN, "late"), job="quality")], "r")
    assert [finding.check.name for finding in found] == ["price_level", "log_of_quotes"]
    assert found[0].also == ("price of hats is 2 % below training",)


@pytest.mark.parametrize(
    ("listed", "who"), [(0.055, "the list price moved too (+5.7 %): the shop repriced"), (0.001, "(+0.1 %): the model")]
)
def test_a_price_and_what_moved_with_it_are_one_finding_that_says_who_did_it(report, up, listed, who):
    price = replace(up, detail={"related_changes": {"list_price_level": listed}})
    list_price = replace(up, name="list_price_level", status=Status.WARN, summary="list price of shoes is 5.7 % above")
    elsewhere = replace(list_price, name="unit_cost_level", component="hats", summary="unit cost of hats is 9 % above")
    found = findings([report(price, list_price, elsewhere)], "r")
    assert [finding.check.name for finding in found] == ["price_level", "unit_cost_level"]
    assert found[0].also == ("list price of shoes is 5.7 % above",)
    assert who in found[0].cause
    worse = replace(list_price, status=Status.URGENT)
    assert len(findings([report(replace(price, status=Status.WARN), worse)], "r")) == 2  # what is worse hides nowhere


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.05, "share", "+5.0 points"),
        (0.0583, "log ratio", "+6.0 %"),
        (-0.029, "relative price", "-2.9 %"),
        (2.0, "sd", "+2 sd"),
        (-0.0001, "share", "+0.0 points"),  # never -0.0
        (-0.000177, "slope", "+0 slope"),
    ],
)
def test_figures_are_written_as_people_write_them(value, unit, text):
    assert figure(value, unit, signed=True) == text


def test_an_interval_names_its_unit_once_and_large_counts_keep_their_digits():
    assert interval(-0.003, 0.011, "relative price") == "-0.3 to +1.1 %"
    assert interval(0.01, 0.05, "share") == "+1.0 to +5.0 points"
    assert figure(12_345.0, "quotes", signed=True) == "+12,345 quotes"


def test_charts_keep_the_change_and_its_zones_in_view(up):
    chart = str(interval_chart(up))
    positions = [float(x) for x in re.findall(r"left:([\d.]+)%", chart)]
    assert all(0 <= x <= 100 for x in positions)
    assert interval_chart(Check("traffic", Status.PASS, "fine")) == ""
    assert traffic_chart({"a": 1}) == ""
    assert str(traffic_chart({"a": 1, "b": 4})).count("<i ") == 2


def test_groups_that_do_not_decide_are_counted_with_the_gap_left_open(report):
    cell = Check("price_gap:age x income", Status.UNKNOWN, "too small", "65+ x low", decides=False)
    left = {"groups": 1, "of": 9, "largest_gap_left_open": 0.031, "customers_needed": 940}
    said = report(Check("price_gap:age", Status.PASS, "fine"), cell, job="fairness")
    whole = JobReport("fairness", said.start, said.end, said.checks, detail={"not_judged": left})
    html = html_of(whole)
    assert "All quiet" in html
    assert "1 of 9 groups are crossings with too few customers" in html
    assert "+3.1" not in html
    assert "3.1 %" in html
