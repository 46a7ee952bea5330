import numpy as np
import pytest

from benchmarks.studies import synthetic
from fairtag.demand.fit import fit_demand


@pytest.fixture(scope="module")
def shop():
    return synthetic.simulate(20_000, seed=100)


def test_the_later_pages_are_none_of_the_training_pages(shop):
    assert shop.data.starts.size <= 20_000 // synthetic.PAGE
    assert shop.items.shape == (synthetic.LATER_PAGES, synthetic.PAGE)
    total = shop.planted.item_row.size // synthetic.PAGE
    assert total == 20_000 // synthetic.PAGE + synthetic.LATER_PAGES


def test_the_oracle_is_beaten_by_no_other_prices(shop):
    planted = shop.planted.page(shop.items, shop.similarity, shop.behaviour)
    best = shop.prices(*planted)
    rng = np.random.default_rng(0)
    for _ in range(5):
        other = np.clip(best + rng.normal(0, 0.05, best.shape), shop.cost, 1.0)
        assert shop.profit(other) < shop.profit(best)
    assert shop.profit(1.0) < shop.profit(best)


def test_planted_parameters_lie_within_four_errors_of_a_small_fit(shop):
    found = synthetic.compare_parameters(fit_demand(shop.data), shop)
    assert len(found) == 2 + 8 + 16
    assert all(abs(value - planted) < 4 * error for value, error, planted in found.values())
    assert all(error > 0 for _, error, _ in found.values())


@pytest.mark.slow
def test_the_learned_policy_beats_one_price_for_all_and_comes_near_the_oracle():
    rows = {row.metric: row for row in synthetic.policy_rows(20_000, 3)}
    assert rows["oracle_uplift_share_20000"].value > 0.93
    assert rows["oracle_uplift_share_20000"].reference == ">= 0.95"
    assert rows["profit_over_best_uniform_20000"].value > 0.05


@pytest.mark.slow
def test_a_thousand_impressions_do_no_harm():
    rows = {row.metric: row.value for row in synthetic.policy_rows(1_000, 3)}
    assert rows["profit_over_learned_uniform_1000"] > -0.01


def test_names_of_rows_are_plain_words():
    assert synthetic._plain("eta[orders_90d]") == "eta_orders_90d"
