"""A policy tried on held-out pages: in a fraction of a second for the eye, in minutes for a decision."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.policy_evaluation import evaluate_policy
from fairtag.evaluation.policy_replay import PolicyReplay, prepare_replay
from fairtag.model.policy_change import accepted_model, change_policy, require_policy_decision
from fairtag.page.held_out import query_vectors, shadow_pages
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.shop_policy import ShopPolicy

DAY = date(2026, 11, 29)


def policy(**changes):
    return ShopPolicy().changed(**changes)


@pytest.fixture(scope="module")
def replay(model, joined, market):
    return prepare_replay(model, joined, market.tables.audit_groups, pages=60)


def test_the_policy_in_force_changes_nothing(replay):
    found = replay.preview(ShopPolicy(), on=DAY)
    assert (found.changed, found.customers_affected, found.items) == (0.0, 0.0, ())
    assert (found.profit.value, found.profit.low, found.profit.high) == (0.0, 0.0, 0.0)


def test_a_smaller_discount_raises_prices_and_costs_units(replay):
    found = replay.preview(policy(limits={"max_discount": 0.1}), on=DAY)
    assert found.raised > 0
    assert found.units.low < found.units.value < 0
    assert found.units.low <= found.units.value <= found.units.high
    assert 0 < found.customers_affected <= 1
    assert all(item.after_minor != item.before_minor for item in found.items)
    assert list(found.items) == sorted(found.items, key=lambda item: item.profit_change)
    back = replay.preview(ShopPolicy(), policy(limits={"max_discount": 0.1}), on=DAY)
    assert back.lowered == pytest.approx(found.raised)


def test_what_the_policy_in_force_does_is_worked_out_once(replay, monkeypatch):
    asked = []
    own = PolicyReplay.outcome
    monkeypatch.setattr(PolicyReplay, "outcome", lambda self, policy, on: asked.append(policy) or own(self, policy, on))
    fresh = replace(replay)
    current, tries = policy(limits={"max_discount": 0.2}), [policy(limits={"max_discount": cut}) for cut in (0.1, 0.05)]
    found = [fresh.preview(each, current, on=DAY) for each in tries]
    assert asked == [current, *tries]
    fresh.preview(tries[0], tries[1], on=DAY)
    assert asked[3:] == [tries[1], tries[0]], "another policy is in force"
    fresh.preview(tries[0], tries[1], on=date(2026, 12, 1))
    assert len(asked) == 7, "another day"
    assert found[0] == replay.preview(tries[0], current, on=DAY)


def test_at_list_nobody_pays_less_than_anybody_else(replay):
    found = replay.preview(policy(at_list=True), on=DAY)
    assert found.widest[1] == pytest.approx(1.0)
    assert found.personal[1] == 0.0
    assert all(abs(gap.after) < 1e-9 for gap in found.gaps)


def test_a_pin_counts_on_its_days(replay):
    row = int(replay.pages.item[0])
    item, listed = replay.model.item_ids[row], float(replay.pages.listed[0])
    pinned = policy(pins=[{"item": item, "price": round(0.9 * listed, 2), "starts": "2026-12-01"}])
    assert replay.preview(pinned, on=DAY).changed == 0.0
    found = replay.preview(pinned, on=date(2026, 12, 1))
    assert {each.item_id for each in found.items} <= {item}


def test_the_batch_has_the_prices_that_pages_have_one_by_one(replay, model):
    document = policy(limits={"max_discount": 0.15}, exclusions={"items": [model.item_ids[int(replay.pages.item[3])]]})
    still = document.changed(exploration=0.0)
    rows = replay.pages.rows
    priced = replay.prices(still, DAY)
    vectors = query_vectors(model, rows)
    seen: dict[tuple[str, str], int] = {}
    first = rows.drop_duplicates(schema.USER_ID)[schema.PAGE_ID].head(10)  # no price lock of an earlier page
    for shadow in shadow_pages(model, rows[rows[schema.PAGE_ID].isin(first)], vectors, policy=still):
        seen |= {(shadow.page_id, item.item_id): item.price_minor for item in shadow.page.items}
    keys = list(zip(rows[schema.PAGE_ID].astype(str), rows[schema.ITEM_ID], strict=True))
    batch = {key: int(minor) for key, minor in zip(keys, np.rint(priced.price * 100), strict=True)}
    assert len(seen) > 50
    assert seen == {key: batch[key] for key in seen}


@pytest.mark.slow
def test_a_wider_policy_goes_live_with_the_decision_about_it(model_folder, joined, market, tmp_path):
    wide, model = policy(limits={"max_discount": 0.35}), accepted_model(model_folder)
    limits = EvaluationLimits(pages=150, audit_pages=2, audit_users=40, profit_margin=0.5)
    decision = evaluate_policy(model_folder, wide, market.tables, joined, limits=limits)
    names = [gate["name"] for gate in decision["gates"] if not gate["name"].startswith("off_policy")]
    assert names == ["non_inferiority", "not_below_list", "price_guarantees", "price_gaps"]
    assert len(decision["gates"]) > len(names), "the log's own word, or why it has none"
    (kept,) = (gate for gate in decision["gates"] if gate["name"] == "price_guarantees")
    assert kept["status"] == "pass"
    store = LivePolicyStore(tmp_path / "policy")
    judged = {gate["name"]: gate["status"] for gate in decision["gates"]}
    if judged["price_gaps"] == "could not tell":  # forty customers are too few to tell
        assert not decision["accepted"]
        gates = market.tables.audit_groups.iloc[:0]
        shop = market.tables.__class__(**{**vars(market.tables), "audit_groups": gates})
        decision = evaluate_policy(model_folder, wide, shop, joined, limits=limits)
    require_policy_decision(decision, model.digest, wide.digest)
    assert change_policy(store, wide, model, who="ada", why="x", decision=decision).version == 1
