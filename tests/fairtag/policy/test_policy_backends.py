"""A folder, an object store and Redis keep the same numbered documents, each written once."""

import uuid

import pytest

from fairtag.base.errors import UnavailableError
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.policy_backends import FolderBackend, ObjectStoreBackend, RedisBackend, VersionTaken, open_backend
from fairtag.policy.shop_policy import ShopPolicy


@pytest.fixture(params=["folder", "objects", "redis"])
def backend(request, tmp_path):
    if request.param == "folder":
        return FolderBackend(tmp_path / "policy")
    if request.param == "objects":
        return ObjectStoreBackend(f"memory://{uuid.uuid4().hex}/policy")
    server = request.getfixturevalue("redis")
    server.client().flushall()
    return RedisBackend(f"redis://{server.address}/0")


def test_documents_are_numbered_and_written_once(backend):
    assert (backend.newest(), backend.read(1)) == (0, None)
    backend.add(1, b"one")
    backend.add(2, b"two")
    assert (backend.newest(), backend.read(1), backend.read(2), backend.read(3)) == (2, b"one", b"two", None)
    with pytest.raises(VersionTaken, match="version 2"):
        backend.add(2, b"other")
    assert backend.read(2) == b"two"


def test_another_process_sees_what_was_added(backend):
    other = ObjectStoreBackend(backend.name) if isinstance(backend, ObjectStoreBackend) else backend
    assert other.newest() == 0
    backend.add(1, b"one")
    assert (other.newest(), other.read(1)) == (1, b"one")


def test_a_history_is_the_same_in_each(backend):
    store = LivePolicyStore(backend)
    store.change(ShopPolicy(at_list=True), who="ada", why="x")
    store.undo(who="ada", why="y")
    assert [change.policy.at_list for change in LivePolicyStore(backend).history()] == [True, False]


def test_a_redis_that_is_down_is_unavailable_and_its_password_is_not_shown():
    backend = RedisBackend("redis://writer:secret@127.0.0.1:1/0", seconds=0.2)
    assert backend.name == "redis://127.0.0.1:1/0"
    with pytest.raises(UnavailableError, match="does not answer"):
        backend.newest()


def test_an_object_store_that_is_not_there_is_unavailable():
    backend = ObjectStoreBackend("memory://nothing")
    backend._fs = None
    with pytest.raises(UnavailableError, match="memory://nothing"):
        backend.newest()


def test_an_address_says_what_it_is(tmp_path):
    assert isinstance(open_backend(tmp_path), FolderBackend)
    assert isinstance(open_backend("memory://policy"), ObjectStoreBackend)
    assert isinstance(open_backend("rediss://host:6379"), RedisBackend)
