"""An endpoint follows the live policy: at once, through a store that is down, and never one that it cannot trust."""

import json

import pytest

from fairtag.base.errors import UnavailableError
from fairtag.model.decision import GateResult
from fairtag.model.policy_change import AcceptedModel, change_policy, make_policy_decision
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy
from fairtag.policy.version_places import FolderPlace, RedisPlace
from serving.stores.policy_follower import CAREFUL, PolicyFollower

ADA = {"who": "ada", "why": "x"}
STOP = ShopPolicy(at_list=True)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Down(FolderPlace):
    down = False

    def newest(self):
        if self.down:
            raise UnavailableError("down")
        return super().newest()


@pytest.fixture
def place(tmp_path):
    return Down(tmp_path / "policy")


def test_a_change_counts_from_the_next_look(place):
    follower = PolicyFollower(LivePolicyStore(place))
    assert (follower.policy, follower.change.version) == (ShopPolicy(), 0)
    LivePolicyStore(place).change(STOP, **ADA)
    assert follower.refresh()
    assert (follower.policy, follower.change.version) == (STOP, 1)
    assert not follower.refresh()


def test_the_last_version_holds_while_the_store_is_down_until_it_is_too_old(place):
    clock, narrow = Clock(), ShopPolicy().changed(limits={"max_discount": 0.1})
    LivePolicyStore(place).change(narrow, **ADA)
    follower = PolicyFollower(LivePolicyStore(place), stale_seconds=100, clock=clock)
    place.down, clock.now = True, 99.0
    follower.refresh()
    assert (follower.policy, follower.age, follower.careful) == (narrow, 99.0, False)
    clock.now = 101.0
    follower.refresh()
    assert (follower.policy, follower.careful) == (CAREFUL, True)
    place.down = False
    assert follower.refresh()
    assert (follower.policy, follower.age, follower.careful) == (narrow, 0.0, False)


def test_an_endpoint_that_never_read_its_policy_is_careful(place):
    place.down = True
    follower = PolicyFollower(LivePolicyStore(place))
    assert (follower.policy, follower.age) == (CAREFUL, float("inf"))


@pytest.mark.parametrize("damage", ["edit", "remove"])
def test_a_version_that_was_altered_puts_everything_at_list(place, damage):
    store = LivePolicyStore(place)
    store.change(ShopPolicy().changed(exploration=0.0), **ADA)
    follower = PolicyFollower(store)
    file = place.folder / "000001.json"
    if damage == "edit":
        store.change(ShopPolicy().changed(exploration=0.01), **ADA)
        second = place.folder / "000002.json"
        second.write_text(json.dumps({**json.loads(second.read_text()), "why": "y"}))
    else:
        file.unlink()
    follower.refresh()
    assert follower.policy is CAREFUL


def test_a_stop_counts_while_redis_is_down(redis, tmp_path):
    folder = FolderPlace(tmp_path / "policy")
    places = (RedisPlace(f"redis://{redis.address}/0", 0.5), folder)
    store, follower = LivePolicyStore(*places), PolicyFollower(LivePolicyStore(*places))
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
    assert (places[0].newest(), places[1].newest(), follower.policy.at_list) == (3, 3, False)


def test_what_there_is_no_evidence_for_with_this_model_stays_as_it_was_accepted(place):
    mine, other = (AcceptedModel(name, name * 64, PricingPolicy()) for name in ("a", "b"))
    wide = ShopPolicy().changed(limits={"max_discount": 0.4}, exploration=0.0)
    gate = GateResult("non_inferiority", 0.1, "at least 0", "pass")
    decision = make_policy_decision(mine, wide, "f", [gate], {})
    change_policy(LivePolicyStore(place), wide, mine, **ADA, decision=decision)
    follower = PolicyFollower(LivePolicyStore(place))
    follower.follow(mine)
    assert follower.policy == wide
    follower.follow(other)
    assert follower.policy == ShopPolicy().changed(exploration=0.0)
