"""The gates of demand and of group gaps, each from both sides of its thresholds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.types import Status
from fairtag.demand.calibration import Calibration, Estimate
from fairtag.evaluation.calibration_gate import calibration_figures, calibration_gate
from fairtag.evaluation.fairness_gate import gap_gate, guarantees_gate, price_by_group
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.fairness import fixed_effects as fe
from fairtag.fairness.audit import AuditReport, Finding
from fairtag.model.decision import content_hash, make_decision
from fairtag.page.quote_rows import quote_frame
from fairtag.policy.guardrails import GuardrailLimits


def calibration(slope: float, low: float, high: float) -> Calibration:
    none = Estimate(0.0, -1.0, 1.0)
    return Calibration(
        none, Estimate(slope, low, high), none, (), 0.5, {}, 100, 40, 41.0, {"sold": 40.0, "expected": 41.0}
    )


@pytest.mark.parametrize(
    ("slope", "low", "high", "status"),
    [
        (1.0, 0.95, 1.05, "pass"),
        (0.9, 0.5, 1.5, "pass"),
        (1.1, 1.08, 1.12, "pass"),
        (0.89, 0.80, 0.899, "fail"),  # surely outside
        (0.89, 0.80, 0.98, "pass"),  # outside, but the data do not say so
        (1.2, 1.09, 1.31, "pass"),
        (1.2, 1.11, 1.29, "fail"),
        (0.74, 0.4, 1.1, "fail"),  # no interval saves a slope that far out
        (1.36, 0.9, 1.8, "fail"),
        (float("nan"), float("nan"), float("nan"), "fail"),
    ],
)
def test_the_calibration_slope_is_judged_with_its_interval(slope, low, high, status):
    assert calibration_gate(calibration(slope, low, high), EvaluationLimits()).status == status


def test_a_figure_that_the_data_do_not_tell_is_absent_and_keeps_no_decision_from_being_written():
    """A price that never varied has no response; the document of a decision holds no NaN."""
    unknown = Estimate(float("nan"), float("nan"), float("nan"))
    found = replace(calibration(1.0, 0.9, 1.1), price_slope=unknown)
    figures = calibration_figures(found)
    assert figures["price_slope"] is None
    assert figures["calibration_slope"] == 1.0
    assert content_hash({"demand": figures})


def test_a_calibration_that_cannot_be_told_is_a_gate_that_can_be_written():
    nan = float("nan")
    gate = calibration_gate(calibration(nan, nan, nan), EvaluationLimits())
    assert make_decision(
        challenger={"version": "a", "model_digest": "b"}, champion=None, data_fingerprint="f", gates=[gate], metrics={}
    )


def finding(group: str, status: Status, gap: float = 0.001) -> Finding:
    ratio = fe.Estimate(1.0, 0.9, 1.1)
    return Finding(
        "age", group, status, "why", 2000, 100, 50, gap, gap - 0.001, gap + 0.001, 0.001, 0.5, 0.5, ratio, None, None
    )


def test_one_group_that_would_wake_someone_is_enough_to_refuse():
    calm = [finding(name, Status.PASS) for name in "abc"]
    assert gap_gate(AuditReport((*calm, finding("d", Status.WARN, 0.01)), {})).status == "pass"
    gate = gap_gate(AuditReport((*calm, finding("d", Status.URGENT, 0.04)), {}))
    assert gate.status == "fail"
    assert gate.value == 0.04
    assert "age d" in gate.note


def test_groups_too_small_to_judge_are_no_pass_and_are_counted():
    silent = finding("a", Status.UNKNOWN, np.nan)
    gate = gap_gate(AuditReport((silent,), {}))
    assert (gate.status, "no group has enough priced impressions" in gate.note) == ("could not tell", True)
    undecided = replace(silent, users=265, needed=640)
    note = gap_gate(AuditReport((silent, undecided), {})).note
    assert "about 640 customers of one are needed, 265 were priced; raise evaluation.audit_users" in note
    gate = gap_gate(AuditReport((silent, finding("b", Status.PASS)), {}))
    assert gate.status == "pass"
    assert "1 without a sure answer" in gate.note


def test_without_an_audit_table_the_gate_does_not_apply_and_without_quotes_promises_are_not_kept():
    assert gap_gate(None).status == "not applicable"
    assert guarantees_gate([quote_frame([])], GuardrailLimits()).status == "could not tell"


def test_the_picture_shows_every_group_that_is_large_enough_and_no_other():
    undecided = finding("a", Status.UNKNOWN)
    small = replace(finding("b", Status.UNKNOWN), users=29)
    users = [f"u{n}" for n in range(60)]
    quotes = pd.DataFrame({schema.USER_KEY: users, schema.PRICE_MINOR: [90, 80] * 30, schema.LIST_PRICE_MINOR: 100})
    groups = pd.DataFrame({schema.USER_ID: users, schema.ATTRIBUTE: "age", schema.GROUP: ["a", "b"] * 30})
    (shown,) = price_by_group(quotes, groups, AuditReport((undecided, small), {}))
    assert (shown["group"], shown["value"], shown["n"]) == ("a", pytest.approx(0.9), 30)
    assert price_by_group(quotes, None, None) == []
