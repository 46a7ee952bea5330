"""The fairness study at a small size: its rows have the shape and the order of magnitude they are read for."""

import pytest

from benchmarks.studies import fairness as study
from fairtag.simulator.simulation import TINY, simulate_shop


def figures(rows):
    return {row.metric: row.value for row in rows}


def test_a_wider_corridor_keeps_more_of_the_uplift():
    rows = figures(study.trade_off_rows(simulate_shop(TINY, seed=1).planted, customers=60, items=20))
    kept = [rows[f"kept_rho_{rho:.2f}"] for rho in study.RHOS]
    assert kept == sorted(kept)
    assert 0 < kept[0] < kept[-1] <= 1 + 1e-9
    assert rows["uplift_personal_over_uniform"] > 0


@pytest.mark.parametrize(("gap", "least", "most"), [(0.0, 0, 1 / 6), (0.04, 5 / 6, 1)])
def test_the_audit_is_silent_without_a_gap_and_loud_with_one(gap, least, most):
    rows = figures(study.audit_rows(gap, logs=6))
    alarm = next(value for name, value in rows.items() if name.startswith("audit_urgent_at"))
    assert least <= alarm <= most


def test_peeking_and_kill_rows_are_shares_with_intervals():
    for row in (*study.peeking_rows(streams=3), *study.kill_rows(seeds=3)):
        assert 0 <= row.low <= row.value <= row.high <= 1


def test_the_clock_runs_over_the_log_it_names():
    row = study.audit_time_row(users=100, visits=12)
    assert row.metric == "audit_seconds_1200_quotes"
    assert row.value > 0
