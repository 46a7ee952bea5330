"""A folder, an object store and Redis keep the same numbered documents, each written once."""

import uuid

import pytest

from fairtag.base.errors import UnavailableError
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.shop_policy import ShopPolicy
from fairtag.policy.version_places import FolderPlace, ObjectPlace, RedisPlace, VersionTaken, open_place


@pytest.fixture(params=["folder", "objects", "redis"])
def place(request, tmp_path):
    if request.param == "folder":
        return FolderPlace(tmp_path / "policy")
    if request.param == "objects":
        return ObjectPlace(f"memory://{uuid.uuid4().hex}/policy")
    server = request.getfixturevalue("redis")
    server.client().flushall()
    return RedisPlace(f"redis://{server.address}/0")


def test_documents_are_numbered_and_written_once(place):
    assert (place.newest(), place.read(1)) == (0, None)
    place.add(1, b"one")
    place.add(2, b"two")
    assert (place.newest(), place.read(1), place.read(2), place.read(3)) == (2, b"one", b"two", None)
    with pytest.raises(VersionTaken, match="version 2"):
        place.add(2, b"other")
    assert place.read(2) == b"two"


def test_another_process_sees_what_was_added(place):
    other = ObjectPlace(place.name) if isinstance(place, ObjectPlace) else place
    assert other.newest() == 0
    place.add(1, b"one")
    assert (other.newest(), other.read(1)) == (1, b"one")


def test_a_history_is_the_same_in_each(place):
    store = LivePolicyStore(place)
    store.change(ShopPolicy(at_list=True), who="ada", why="x")
    store.undo(who="ada", why="y")
    assert [change.policy.at_list for change in LivePolicyStore(place).history()] == [True, False]


def test_a_redis_that_is_down_is_unavailable_and_its_password_is_not_shown():
    place = RedisPlace("redis://writer:secret@127.0.0.1:1/0", seconds=0.2)
    assert place.name == "redis://127.0.0.1:1/0"
    with pytest.raises(UnavailableError, match="does not answer"):
        place.newest()


def test_an_object_store_that_is_not_there_is_unavailable():
    place = ObjectPlace("memory://nothing")
    place._fs = None
    with pytest.raises(UnavailableError, match="memory://nothing"):
        place.newest()


def test_an_address_says_what_it_is(tmp_path):
    assert isinstance(open_place(tmp_path), FolderPlace)
    assert isinstance(open_place("memory://policy"), ObjectPlace)
    assert isinstance(open_place("rediss://host:6379"), RedisPlace)
