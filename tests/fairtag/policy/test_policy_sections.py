"""The sections of policy.yaml."""

from dataclasses import fields
from datetime import date

import pytest

from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.policy_sections import Days, Limits


def test_the_limits_are_those_of_the_guardrails():
    assert set(Limits.model_fields) == {each.name for each in fields(GuardrailLimits)} - {"currency"}


def test_a_null_counts_where_it_switches_a_bound_off_and_nowhere_else():
    given = Limits(max_discount=None, max_decrease=None, min_margin=0.1).given()
    assert given == {"max_decrease": None, "min_margin": 0.1}
    assert Limits(discount_only=True).given() == {"discount_only": True, "max_markup": 0.0}


@pytest.mark.parametrize(
    ("starts", "ends", "holds"),
    [
        (None, None, [1, 2, 3, 4]),
        (2, None, [2, 3, 4]),
        (None, 2, [1, 2]),
        (2, 3, [2, 3]),
    ],
)
def test_first_and_last_day_are_held_and_an_open_end_has_none(starts, ends, holds):
    days = _days(starts, ends)
    assert [day for day in range(1, 5) if days.hold(date(2026, 12, day))] == holds


def test_two_sets_of_days_meet_where_some_day_is_in_both():
    pairs = [(a, b) for a in (None, 1, 2, 3) for b in (None, 1, 2, 3) if a is None or b is None or a <= b]
    for first in pairs:
        for second in pairs:
            a, b = _days(*first), _days(*second)
            common = any(a.hold(date(2026, 12, day)) and b.hold(date(2026, 12, day)) for day in range(1, 4))
            assert a.meet(b) == common, (first, second)


def _days(starts: int | None, ends: int | None) -> Days:
    return Days(
        starts=None if starts is None else date(2026, 12, starts), ends=None if ends is None else date(2026, 12, ends)
    )
