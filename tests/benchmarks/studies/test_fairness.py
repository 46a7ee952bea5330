"""The fairness study at a small size: its rows have the shape and the order of magnitude they are read for."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.studies import fairness as study
from fairtag.model.capabilities import ALL
from fairtag.model.pricing_model import load_pricing_model
from fairtag.training.inputs import demand_inputs, fit_part


def figures(rows):
    return {row.metric: row.value for row in rows}


@pytest.fixture(scope="module")
def shop(model_folder, market, joined):
    """The tests' own model in place of one with a real encoder, on every page of its shop."""
    model = replace(load_pricing_model(model_folder, verify=False), capabilities=ALL)
    data = demand_inputs(
        fit_part(joined), model.catalogue, model.embeddings, model.encoder, model.price_model, model.policy
    )
    planted = market.planted
    items, similarity = (x.reshape(len(planted.behaviour), -1)[-12:] for x in (planted.item_row, planted.similarity))
    return study.Shop(model, planted, data, items, similarity, planted.behaviour[-12:])


def test_every_width_keeps_some_of_the_uplift_and_list_lies_inside_wherever_it_is_shown(shop):
    rows = figures(study.corridor_rows(shop))
    assert rows["list_outside_where_shown"] == 0
    assert 0 <= rows["corridor_binds"] <= 1
    assert {f"kept_rho_{rho:.2f}" for rho in study.RHOS} <= set(rows)


def test_kept_is_the_share_of_the_gain():
    base, best = np.zeros(50), np.linspace(1, 2, 50)
    row = study._kept("kept", 0.75 * best, base, best, None)
    assert row.value == pytest.approx(0.75)
    assert row.low == pytest.approx(0.75) == row.high


def test_one_price_for_all_is_one_price_for_all(shop):
    price, *_ = study.priced_pages(shop, 1.0)
    prices = {}
    for item, money in zip(shop.items.ravel(), price.ravel(), strict=True):
        prices.setdefault(item, set()).add(money)
    assert all(len(found) == 1 for found in prices.values())


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
