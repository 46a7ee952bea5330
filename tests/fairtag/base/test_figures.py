"""Figures as people read them."""

import math

import pytest

from fairtag.base.text import figure


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.041468, "0.04147"),
        (-12.5, "-12.5"),
        (9_999, "9999"),
        (12_870.4, "12,870"),
        (253_500_000, "253,500,000"),
        (-20_000, "-20,000"),
        (0.00002, "2e-05"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_a_figure_has_four_digits_or_is_whole(value: float, text: str) -> None:
    assert figure(value) == text
