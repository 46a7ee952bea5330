"""The study of exploration plays fair: no policy beats its oracle, and draws have their propensities."""

import numpy as np
import pytest

from benchmarks.studies import exploration as study


@pytest.fixture(scope="module")
def pages():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("DAYS", 4), ("PAGES_A_DAY", 20), ("FIRST_PAGES", 120), ("REFIT_DAYS", 2), ("ITEMS", 64)):
            patch.setattr(study, name, value)
        yield study.simulated_pages(0)


@pytest.fixture(scope="module")
def thompson(pages):
    return study.play(pages, study.POLICIES[-1])


def test_no_prices_earn_more_than_the_oracles(pages, thompson):
    rows = {row.metric: row.value for row in study.regret_rows(study.POLICIES[-1], [pages, pages], [thompson] * 2)}
    assert all(value >= -1e-9 for value in rows.values())
    assert rows["regret_thompson_100"] < 0.3


def test_a_price_lies_on_its_menu_inside_the_bounds_with_a_propensity(pages, thompson):
    for day in thompson:
        assert (day.y >= pages.low[day.at] - 1e-12).all()
        assert (day.y <= 1.0).all()
        assert ((day.propensity >= study.POLICIES[-1].rate * 0.1 / study.POINTS - 1e-12) & (day.propensity <= 1)).all()


def test_without_draws_the_shown_price_is_the_chosen_one(pages):
    for day in study.play(pages, study.POLICIES[0]):
        np.testing.assert_array_equal(day.point, day.chosen)
        np.testing.assert_array_equal(day.propensity, 1.0)


def test_the_chance_of_an_item_alone_at_the_price_it_was_shown_is_that_of_the_whole_page(pages, thompson):
    day = thompson[0]
    a, b = pages.utility[day.at], pages.slope[day.at]
    whole = study.choice_probabilities(a - b * day.y).ravel()
    alone = study.alone(day, a, b)[np.arange(len(day.menu)), day.point]
    np.testing.assert_allclose(alone, whole, rtol=1e-9)


def test_purchases_come_as_often_as_expected(pages):
    everything = slice(0, len(pages.items))
    bought = study.purchases(pages, np.ones(pages.items.shape), everything)
    expected = study.choice_probabilities(pages.utility - pages.slope)
    assert bought.sum(-1).max() <= 1
    error = np.sqrt((expected.sum(-1) * (1 - expected.sum(-1))).mean() / len(bought))
    assert abs(bought.sum(-1).mean() - expected.sum(-1).mean()) < 4 * error


def test_an_estimate_has_an_interval_around_it(pages, thompson):
    for target in ("greedy", "deepest"):
        truth, value, low, high = study.estimated(pages, thompson, target)
        assert low < value < high
        assert truth > 0
