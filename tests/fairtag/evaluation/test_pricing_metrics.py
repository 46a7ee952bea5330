"""The five figures of Ye et al., on the four cells of their table and at the edges."""

import numpy as np
import pytest

from fairtag.base.errors import DataError
from fairtag.evaluation.pricing_metrics import pricing_metrics


def test_the_four_cells_by_hand():
    # suggested lower and unsold 3, lower and sold 1, not lower and unsold 2, not lower and sold 4
    offered = np.full(10, 100.0)
    suggested = np.array([90, 80, 70, 60, 100, 120, 100, 110, 105, 130.0])
    sold = np.array([0, 0, 0, 1, 0, 0, 1, 1, 1, 1], dtype=bool)
    m = pricing_metrics(offered, suggested, sold)
    assert (m.pdr, m.pdp, m.pir, m.pip) == (3 / 5, 3 / 4, 4 / 5, 4 / 6)
    assert m.booking_regret == 0.0
    assert m.mean_regret == pytest.approx(0.4 / 5)
    assert (m.sold, m.unsold) == (5, 5)


def test_regret_is_the_median_share_given_away_on_what_sold():
    m = pricing_metrics([100, 100, 100, 50], [90, 80, 150, 1], [True, True, True, False])
    assert m.booking_regret == pytest.approx(0.1)
    assert m.mean_regret == pytest.approx(0.1)


def test_a_policy_that_always_discounts_is_perfect_in_one_figure_and_worthless_in_another():
    m = pricing_metrics([10, 10, 10], [9, 9, 9], [True, False, False])
    assert (m.pdr, m.pir) == (1.0, 0.0)
    assert np.isnan(m.pip)


def test_nothing_sold_and_nothing_at_all():
    m = pricing_metrics([10], [9], [False])
    assert np.isnan(m.booking_regret)
    assert np.isnan(m.pir)
    empty = pricing_metrics([], [], [])
    assert (empty.sold, empty.unsold) == (0, 0)
    assert np.isnan(empty.pdr)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_prices_that_are_none_are_refused(bad):
    with pytest.raises(DataError, match="not positive"):
        pricing_metrics([bad], [1.0], [True])
    with pytest.raises(DataError, match="not positive"):
        pricing_metrics([1.0], [bad], [True])
    with pytest.raises(DataError, match="one length"):
        pricing_metrics([1.0, 2.0], [1.0], [True])
