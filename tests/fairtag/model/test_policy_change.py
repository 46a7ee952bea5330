"""What may go live: narrowing at once, widening with an accepted decision about that policy and this model."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fairtag.base.errors import ConfigError, DecisionMismatch, DecisionRejected
from fairtag.model.decision import GateResult, content_hash
from fairtag.model.policy_change import (
    AcceptedModel,
    change_policy,
    make_policy_decision,
    require_policy_decision,
    supported,
    undo_policy,
    unproven,
)
from fairtag.model.signature import key_id, sign
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy

MODEL = AcceptedModel("v1", "a" * 64, PricingPolicy())
OTHER = AcceptedModel("v2", "b" * 64, PricingPolicy())
ADA = {"who": "ada", "why": "winter"}
PASS = GateResult("non_inferiority", 0.1, "at least 0", "pass")


def policy(**changes):
    return ShopPolicy().changed(**changes)


WIDE = policy(limits={"max_discount": 0.4})


def decided(document=WIDE, model=MODEL, gate=PASS):
    return make_policy_decision(model, document, "f", [gate], {})


@pytest.fixture
def store(tmp_path):
    return LivePolicyStore(tmp_path / "policy")


def test_what_only_narrows_counts_at_once(store):
    assert change_policy(store, policy(limits={"max_discount": 0.1}), MODEL, **ADA).version == 1
    assert change_policy(store, policy(limits={"max_discount": 0.2}), MODEL, **ADA).version == 2, "still accepted"
    assert undo_policy(store, MODEL, **ADA).policy == policy(limits={"max_discount": 0.1})


def test_what_widens_is_refused_without_a_decision_and_accepted_with_one(store):
    with pytest.raises(DecisionRejected, match=r"limits.max_discount: 0.3 -> 0.4.*fairtag policy evaluate"):
        change_policy(store, WIDE, MODEL, **ADA)
    assert store.newest() == 0
    made = change_policy(store, WIDE, MODEL, **ADA, decision=decided())
    assert (made.version, made.decision["accepted"]) == (1, True)
    assert store.current().decision == made.decision


def test_after_a_decision_what_narrows_it_needs_no_other(store):
    change_policy(store, WIDE, MODEL, **ADA, decision=decided())
    change_policy(store, policy(at_list=True), MODEL, **ADA)
    assert undo_policy(store, MODEL, **ADA).policy == WIDE
    assert change_policy(store, policy(limits={"max_discount": 0.35}), MODEL, **ADA).version == 4
    with pytest.raises(DecisionRejected):
        change_policy(store, policy(limits={"max_discount": 0.41}), MODEL, **ADA)


@pytest.mark.parametrize(
    ("decision", "error", "message"),
    [
        (decided(policy(limits={"max_discount": 0.5})), DecisionMismatch, "about policy"),
        (decided(model=OTHER), DecisionMismatch, "about model folder"),
        (decided(gate=GateResult("price_gaps", 0.1, "no gap", "fail")), DecisionRejected, "price_gaps: fail"),
        (decided(gate=GateResult("price_gaps", 0.1, "no gap", "could not tell")), DecisionRejected, "could not tell"),
        ({**decided(), "accepted": True, "gates": []}, DecisionMismatch, "altered"),
        ({"schema": "fairtag.decision/3"}, DecisionMismatch, "no decision about a policy"),
    ],
)
def test_a_decision_about_something_else_does_not_count(store, decision, error, message):
    with pytest.raises(error, match=message):
        change_policy(store, WIDE, MODEL, **ADA, decision=decision)
    assert store.newest() == 0


def test_a_forged_acceptance_does_not_pass_its_own_gates():
    forged = {**decided(gate=GateResult("price_gaps", 0.1, "no gap", "fail")), "accepted": True}
    with pytest.raises(DecisionRejected, match="price_gaps"):
        require_policy_decision({**forged, "hash": content_hash(forged)}, MODEL.digest, WIDE.digest)


def test_where_keys_are_trusted_a_decision_must_be_signed(store):
    key = Ed25519PrivateKey.generate()
    trusted = {key_id(key.public_key()): key.public_key()}
    with pytest.raises(DecisionMismatch, match="not signed"):
        change_policy(store, WIDE, MODEL, **ADA, decision=decided(), trusted=trusted)
    made = change_policy(store, WIDE, MODEL, **ADA, decision=sign(decided(), key), trusted=trusted)
    assert unproven(WIDE, (made,), MODEL, trusted) == ()
    stranger = Ed25519PrivateKey.generate()
    assert unproven(WIDE, (made,), MODEL, {key_id(stranger.public_key()): stranger.public_key()})


def test_an_endpoint_keeps_what_its_own_model_was_accepted_with(store):
    document = WIDE.changed(
        exploration=0.01,
        pins=[{"item": "a", "price": 1.0}],
        promotions=[
            {"name": name, "cut": cut, "items": ["b"], "starts": "2026-12-01", "ends": "2026-12-02"}
            for name, cut in (("deep", 0.35), ("small", 0.1))
        ],
    )
    made = change_policy(store, document, MODEL, **ADA, decision=decided(document))
    assert supported(document, (made,), MODEL) == document
    held = supported(document, (made,), OTHER)
    assert held.over(OTHER.policy).limits.max_discount == 0.3
    assert [each.name for each in held.promotions] == ["small"]
    assert (held.pins, held.exploration) == (document.pins, 0.01), "what narrows holds with every model"
    assert unproven(held, (made,), OTHER) == ()


def test_what_needs_another_model_is_refused(store):
    with pytest.raises(ConfigError, match=r"epoch_hours.*fairtag run --policy"):
        change_policy(store, policy(epoch_hours=6), MODEL, **ADA)


def test_the_policy_in_force_says_who_may_change_it(store):
    rules = {"narrow": ["ada", "bo"], "widen": ["bo"], "second_person": "widening"}
    change_policy(store, policy(approval=rules), MODEL, **ADA)
    narrow = policy(approval=rules, limits={"max_discount": 0.2})
    with pytest.raises(ConfigError, match="'eve' may not approve a change that narrows"):
        change_policy(store, narrow, MODEL, who="eve", why="x")
    change_policy(store, narrow, MODEL, **ADA)
    with pytest.raises(ConfigError, match="'ada' may not approve a change that allows more"):
        undo_policy(store, MODEL, **ADA)
    with pytest.raises(ConfigError, match="second person"):
        undo_policy(store, MODEL, who="bo", why="x", approved_by="bo")
    assert undo_policy(store, MODEL, **ADA, approved_by="bo").approved_by == "bo"
    with pytest.raises(ConfigError, match="allows more"):
        change_policy(store, ShopPolicy(), MODEL, **ADA)


def test_a_stop_asks_for_nobodys_approval_and_taking_it_back_does(store):
    rules = {"narrow": ["bo"], "widen": ["bo"], "second_person": "always"}
    change_policy(store, policy(approval=rules), MODEL, **ADA, approved_by="bo")
    change_policy(store, policy(approval=rules, at_list=True), MODEL, who="eve", why="stop")
    with pytest.raises(ConfigError):
        undo_policy(store, MODEL, who="eve", why="x")
