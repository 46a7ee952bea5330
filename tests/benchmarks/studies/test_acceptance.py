"""The acceptance study: what it plants is there, and its draws are those of the planted demand."""

import numpy as np
import pytest

from benchmarks.studies import acceptance
from fairtag.evaluation.page_value import earned
from fairtag.model.decision import GateResult
from fairtag.simulator.simulation import ShopSize, simulate_shop

SIZE = ShopSize(items=128, users=300, impressions=24_000, page_size=12, wishes=150, judgements=300)


@pytest.fixture(scope="module")
def shop():
    return acceptance.planted_log(simulate_shop(SIZE, seed=3, design=acceptance.DESIGN))


def test_the_planted_uplift_is_the_one_asked_for(shop):
    for uplift in (0.0, 0.05):
        value = (1 + uplift) * shop.logged
        assert shop.value(shop.worth(value)) == pytest.approx(value, rel=1e-6)
    assert shop.value(shop.listed) <= shop.logged * 1.02


def test_a_drawn_log_earns_what_the_planted_demand_expects_of_its_prices(shop):
    found, expected = [], []
    for seed in range(10):
        log = shop.draw(seed)
        found.append(earned(log).mean())
        expected.append(shop.value(log.price))
        assert (log.sums(log.bought) <= 1).all()
        assert np.isin(np.round(log.price / log.unit, 3), acceptance.MENU).all()
    error = np.std(np.array(found) - expected, ddof=1) / np.sqrt(10)
    assert abs(np.mean(found) - np.mean(expected)) < 4 * error
    assert found[0] != found[1]


def test_no_price_is_drawn_below_cost_and_every_chance_is_the_logged_propensity(shop):
    log = shop.draw(1)
    assert (log.price >= np.minimum(log.cost * 1.02, log.unit) - 1e-9).all()
    np.testing.assert_allclose(shop.chance.sum(axis=1), 1.0)
    shown = np.nanargmin(np.abs(log.levels - log.price[:, None]), axis=1)
    np.testing.assert_array_equal(log.propensity, shop.chance[np.arange(shown.size), shown])


def test_by_the_planted_demand_itself_an_uplift_of_nothing_is_found_within_its_error(shop):
    truth = acceptance.Judge(shop.a, shop.b, shop.listed)
    found = acceptance.uplifts(shop, [truth], shop.worth(shop.logged), 60)
    assert abs(found.mean()) < 3.0 / np.sqrt(60)
    assert found.std() == pytest.approx(1.0, abs=0.25)  # pages are the same in all logs, so rather below
    row = acceptance.bias_row(found, 4)
    assert row.value == pytest.approx(found.mean())
    assert row.low < row.value < row.high


def test_acceptance_counts_the_gates_of_its_rung_and_those_below():
    gates = [GateResult("off_policy_uplift", 1.0, "", "pass"), GateResult("personal_uplift", -1.0, "", "fail")]
    assert acceptance.passes(gates)
    assert not acceptance.passes(gates, "personal_prices")
    rows = {row.metric: row.value for row in acceptance.refusal_rows("refused_", [gates, gates])}
    assert rows == {"refused_off_policy_uplift": 0.0, "refused_personal_uplift": 1.0}
