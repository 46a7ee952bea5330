"""The value gates on planted shops: what is better passes, what list or one price for all would beat does not."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.log_evidence import LISTED, LOGGED, PUBLIC
from fairtag.evaluation.value_gate import off_policy_gates
from fairtag.model.capabilities import PERSONAL_PRICES, UNIFORM_PRICES, accepted_by

LIMITS = EvaluationLimits()


def gates(evidence, limits=LIMITS, **more):
    return {gate.name: gate for gate in off_policy_gates(evidence, limits, **more)}


def statuses(found):
    return {name: gate.status for name, gate in found.items()}


def another_draw(shop):
    """Prices of the menu again, drawn anew: as shares of list."""
    return np.random.default_rng(8).permutation(shop.log.price) / 10.0


@pytest.fixture(scope="module")
def elastic(planted_pages):
    """Demand falls fast: the best price is well below list, near 0.75 of it."""
    return planted_pages(1, slope=6.0, cost=0.5, wrong=0.15)


@pytest.fixture(scope="module")
def inelastic(planted_pages):
    """Demand hardly answers: list is best, and every logged discount was a loss."""
    return planted_pages(2, pages=10_000, slope=1.2, cost=0.2, wrong=0.15)


def test_estimates_lie_within_their_errors_of_the_planted_truth(elastic):
    evidence = elastic.evidence(0.76)
    for name, share in ((PUBLIC, 0.76), (LISTED, 1.0)):
        found = evidence.values[name]
        assert abs(found.value - elastic.truth(elastic.price(share))) < 3 * found.standard_error
    assert abs(evidence.values[LOGGED].value - elastic.logged()) < 3 * evidence.values[LOGGED].standard_error


def test_better_prices_pass_and_their_interval_is_narrower_than_without_curves(elastic):
    evidence = elastic.evidence(0.76, uniform=0.85)
    found = gates(evidence, personal=False)
    assert set(statuses(found).values()) <= {"pass", "not applicable"}
    assert evidence.values[PUBLIC].standard_error < 0.7 * evidence.without_curves().standard_error


def test_prices_better_than_the_logged_discounts_but_worse_than_list_are_refused(inelastic):
    evidence = inelastic.evidence(0.93)
    found = gates(evidence)
    assert inelastic.truth(inelastic.price(0.93)) > 1.03 * inelastic.logged()
    assert inelastic.truth(inelastic.price(0.93)) < 0.98 * inelastic.truth(inelastic.price(1.0))
    assert found["off_policy_uplift"].status == "pass"
    assert found["uplift_over_list"].status == "fail"
    assert "surely worse" in found["uplift_over_list"].note
    assert UNIFORM_PRICES not in accepted_by({"relevance": "pass", **statuses(found)})


def test_prices_worse_than_one_discount_for_all_are_refused(elastic):
    found = gates(elastic.evidence(0.9, uniform=0.76))
    assert found["uplift_over_list"].status == "pass"
    assert found["uplift_over_uniform"].status == "fail"


def test_the_menu_itself_is_not_better_than_the_menu_and_the_gate_says_what_is_served(elastic):
    found = gates(elastic.evidence(another_draw(elastic)))["off_policy_uplift"]
    assert found.status == "could not tell"
    assert "until then list prices are served" in found.note


def test_list_itself_is_no_loss_against_list(inelastic):
    found = gates(inelastic.evidence(1.0))["uplift_over_list"]
    assert (found.status, found.value) == ("pass", 0.0)


def test_too_short_a_log_cannot_tell_and_names_the_days_that_would(planted_pages):
    found = gates(planted_pages(3, pages=300).evidence(0.87))["off_policy_uplift"]
    assert found.status == "could not tell"
    assert "more days of this shop's traffic (3 pages a day)" in found.needs


def test_personal_prices_may_have_to_beat_the_same_prices_without_the_customer(elastic):
    strict = LIMITS.model_copy(update={"personal_must_gain": True})
    best = np.clip(0.5 + 1.2 / elastic.b, 0.7, 1.0)  # each row's own slope: what a customer's data would tell
    better = gates(elastic.evidence(0.85, personal=np.minimum(best, 0.85)), strict)
    same = gates(elastic.evidence(0.76), strict)
    assert better["personal_uplift"].status == "pass"
    assert same["personal_uplift"].status == "could not tell"
    assert PERSONAL_PRICES not in accepted_by({"relevance": "pass", **statuses(same)})


def test_personal_prices_that_are_surely_worse_are_refused(elastic):
    found = gates(elastic.evidence(0.76, personal=0.71))
    assert found["personal_uplift"].status == "fail"
    assert UNIFORM_PRICES in accepted_by({"relevance": "pass", **statuses(found)})


def test_where_a_champion_serves_its_prices_need_not_be_beaten_only_not_lost_to(elastic):
    evidence = elastic.evidence(another_draw(elastic))
    assert gates(evidence)["off_policy_uplift"].status == "could not tell"
    assert gates(evidence, has_champion=True)["off_policy_uplift"].status == "pass"


def test_wrong_propensities_are_seen(elastic):
    evidence = elastic.evidence(0.76)
    log = replace(elastic.log, propensity=np.where(elastic.log.price < 8.0, 0.12, elastic.log.propensity))
    assert gates(replace(evidence, log=log))["off_policy_balance"].status == "fail"
