"""The error level is shared by all that one look tests, and a log with many broken rows is not trusted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fairtag.base.types import Status
from monitoring.detect.checks import ChangeDetector, Comparison, log_check, traffic_check
from monitoring.detect.evidence import Change
from monitoring.detect.window import Intake
from monitoring.settings import Settings

CUSTOMERS = 1_000


def comparison(p_value: float, components: int = 1) -> Comparison:
    """A first component whose change has a p-value at a tolerance of 1, and others that have not moved."""
    change = np.zeros(components)
    change[0] = 1.0 + stats.t.isf(p_value / 2, CUSTOMERS - 1)
    every = np.ones(components)
    measured = Change(change, every, CUSTOMERS * every)
    return Comparison(
        "mix",
        tuple(f"c{number}" for number in range(components)),
        measured,
        None,
        change,
        0 * every,
        every,
        np.inf * every,
        CUSTOMERS * every,
        "",
        lambda place: f"component {place}",
    )


@pytest.mark.parametrize(("checks", "components"), [(1, 1), (8, 1), (1, 5), (8, 5)])
def test_a_single_look_shares_its_level_between_all_checks_and_components(checks: int, components: int) -> None:
    settings = Settings()
    level = settings.level / (checks * components)
    for p_value, status in ((0.9 * level, Status.WARN), (1.1 * level, Status.PASS)):
        found = ChangeDetector(settings, checks).check(comparison(p_value, components))
        assert found.status is status, (p_value, checks, components)
        assert found.detail["p_value"] == pytest.approx(p_value * checks * components)


def test_a_log_is_trusted_up_to_one_broken_row_in_a_thousand() -> None:
    def status(**counts: object) -> Status:
        return log_check(Intake(files=1, rows=10_000, **counts)).status  # type: ignore[arg-type]

    assert status() is Status.PASS
    assert status(broken={"price: > 0": 10}) is Status.WARN
    assert status(broken={"price: > 0": 11}) is Status.UNKNOWN
    assert status(duplicates=9_000, late=900) is Status.WARN
    assert status(future=1) is Status.UNKNOWN
    assert status(unreadable=["a.parquet: cut off"]) is Status.UNKNOWN


def test_a_window_needs_so_many_pages() -> None:
    assert traffic_check(100, 2_400, 100).status is Status.PASS
    assert traffic_check(99, 2_376, 100).status is Status.UNKNOWN
