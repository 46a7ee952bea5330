"""An endpoint follows the live policy: at once, through a store that is down, and never one that it cannot trust."""

import json

import pytest

from fairtag.base.errors import UnavailableError
from fairtag.model.decision import GateResult
from fairtag.model.policy_change import AcceptedModel, change_policy, make_policy_decision
from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.policy_backends import FolderBackend, RedisBackend
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy
from serving.stores.policy_follower import FAIL_SAFE, PolicyFollower

ADA = {"who": "ada", "why": "x"}
STOP = ShopPolicy(at_list=True)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Down(FolderBackend):
    down = False

    def newest(self):
        if self.down:
            raise UnavailableError("down")
        return super().newest()


@pytest.fixture
def backend(tmp_path):
    return Down(tmp_path / "policy")


def test_a_change_counts_from_the_next_look(backend):
    follower = PolicyFollower(LivePolicyStore(backend))
    assert (follower.policy, follower.change.version) == (ShopPolicy(), 0)
    LivePolicyStore(backend).change(STOP, **ADA)
    assert follower.refresh()
    assert (follower.policy, follower.change.version) == (STOP, 1)
    assert not follower.refresh()


def test_the_last_version_holds_while_the_store_is_down_until_it_is_too_old(backend):
    clock, narrow = Clock(), ShopPolicy().changed(limits={"max_discount": 0.1})
    LivePolicyStore(backend).change(narrow, **ADA)
    follower = PolicyFollower(LivePolicyStore(backend), stale_seconds=100, clock=clock)
    backend.down, clock.now = True, 99.0
    follower.refresh()
    assert (follower.policy, follower.age, follower.fail_safe) == (narrow, 99.0, False)
    clock.now = 101.0
    follower.refresh()
    assert (follower.policy, follower.fail_safe) == (FAIL_SAFE, True)
    backend.down = False
    assert follower.refresh()
    assert (follower.policy, follower.age, follower.fail_safe) == (narrow, 0.0, False)


def test_an_endpoint_that_never_read_its_policy_falls_back_to_list(backend):
    backend.down = True
    follower = PolicyFollower(LivePolicyStore(backend))
    assert (follower.policy, follower.age) == (FAIL_SAFE, float("inf"))


@pytest.mark.parametrize("damage", ["edit", "remove"])
def test_a_version_that_was_altered_puts_everything_at_list(backend, damage):
    store = LivePolicyStore(backend)
    store.change(ShopPolicy().changed(exploration=0.0), **ADA)
    follower = PolicyFollower(store)
    file = backend.folder / "000001.json"
    if damage == "edit":
        store.change(ShopPolicy().changed(exploration=0.01), **ADA)
        second = backend.folder / "000002.json"
        second.write_text(json.dumps({**json.loads(second.read_text()), "why": "y"}))
    else:
        file.unlink()
    follower.refresh()
    assert follower.policy is FAIL_SAFE


def test_a_stop_counts_while_redis_is_down(redis, tmp_path):
    folder = FolderBackend(tmp_path / "policy")
    backends = (RedisBackend(f"redis://{redis.address}/0", 0.5), folder)
    store, follower = LivePolicyStore(*backends), PolicyFollower(LivePolicyStore(*backends))
    store.change(ShopPolicy().changed(exploration=0.0), **ADA)
    assert follower.refresh()
    redis.kill()
    store.change(STOP, **ADA)
    assert len(store.missed) == 1
    assert follower.refresh()
    assert follower.policy == STOP
    redis.start()
    store.undo(**ADA)
    assert follower.refresh()
    assert (backends[0].newest(), backends[1].newest(), follower.policy.at_list) == (3, 3, False)


def test_what_there_is_no_evidence_for_with_this_model_stays_as_it_was_accepted(backend):
    mine, other = (AcceptedModel(name, name * 64, PricingPolicy()) for name in ("a", "b"))
    wide = ShopPolicy().changed(limits={"max_discount": 0.4}, exploration=0.0)
    gate = GateResult("non_inferiority", 0.1, "at least 0", "pass")
    decision = make_policy_decision(mine, wide, "f", [gate], {})
    change_policy(LivePolicyStore(backend), wide, mine, **ADA, decision=decision)
    follower = PolicyFollower(LivePolicyStore(backend))
    follower.follow(mine)
    assert follower.policy == wide
    follower.follow(other)
    assert follower.policy == ShopPolicy().changed(exploration=0.0)


def test_a_policy_that_does_not_fit_the_model_puts_everything_at_list_and_is_reported(backend):
    fives = PricingPolicy(limits=GuardrailLimits(endings=(49, 99), ending_period=100))
    LivePolicyStore(backend).change(ShopPolicy().changed(limits={"ending_period": 50}), **ADA)
    follower = PolicyFollower(LivePolicyStore(backend))
    assert not follower.fail_safe
    follower.follow(AcceptedModel("a", "a" * 64, fives))
    assert (follower.policy, follower.fail_safe) == (FAIL_SAFE, True)
    follower.follow(AcceptedModel("b", "b" * 64, PricingPolicy()))
    assert not follower.fail_safe
