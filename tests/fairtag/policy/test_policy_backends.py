"""A folder, an object store, Redis and PostgreSQL keep the same numbered documents, each written once."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from fairtag.base.errors import DataError, UnavailableError
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.policy_backends import (
    FolderBackend,
    ObjectStoreBackend,
    PostgresBackend,
    RedisBackend,
    VersionTaken,
    open_backend,
)
from fairtag.policy.shop_policy import ShopPolicy
from serving.stores.policy_follower import PolicyFollower


@pytest.fixture(scope="module")
def database(policy_database):
    """The address of a role in a database that docs/policy.md made."""
    return policy_database


@pytest.fixture(params=["folder", "objects", "redis", "postgres"])
def backend(request, tmp_path):
    if request.param == "folder":
        return FolderBackend(tmp_path / "policy")
    if request.param == "objects":
        return ObjectStoreBackend(f"memory://{uuid.uuid4().hex}/policy")
    if request.param == "postgres":
        database = request.getfixturevalue("database")
        request.getfixturevalue("postgres_server").sql("TRUNCATE fairtag_policy", database="policy")
        return PostgresBackend(database("policy_writer"))
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


def test_of_many_writers_of_one_version_one_succeeds(backend):
    def write(number):
        try:
            backend.add(1, b"%d" % number)
        except VersionTaken:
            return None
        return b"%d" % number

    with ThreadPoolExecutor(8) as pool:
        written = [each for each in pool.map(write, range(8)) if each is not None]
    assert written == [backend.read(1)]


def test_an_altered_document_is_found_on_reading(backend):
    store = LivePolicyStore(backend)
    store.change(ShopPolicy(at_list=True), who="ada", why="x")
    altered = backend.read(1).replace(b"ada", b"eve")

    class Altered:
        name, newest = backend.name, backend.newest

        def read(self, _number):
            return altered

    with pytest.raises(DataError, match="was altered"):
        LivePolicyStore(Altered()).history()


def test_a_reader_of_the_database_adds_nothing_and_nobody_changes_or_removes(database, postgres_server):
    import psycopg

    postgres_server.sql("TRUNCATE fairtag_policy", database="policy")
    PostgresBackend(database("policy_writer")).add(1, b"one")
    reader = PostgresBackend(database("policy_reader"))
    assert (reader.newest(), reader.read(1)) == (1, b"one")
    with pytest.raises(UnavailableError, match="permission denied"):
        reader.add(2, b"two")
    for role in ("policy_reader", "policy_writer"):
        for statement in (
            "UPDATE fairtag_policy SET content = ''",
            "DELETE FROM fairtag_policy",
            "DROP TABLE fairtag_policy",
        ):
            with psycopg.connect(database(role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_server_that_was_started_again_is_read_by_whoever_read_it_before(database, postgres_server):
    backend = PostgresBackend(database("policy_writer"))
    held = backend.newest()
    postgres_server.stop()
    try:
        with pytest.raises(UnavailableError, match="does not answer"):
            backend.newest()
    finally:
        postgres_server.start()
    assert backend.newest() == held
    postgres_server.stop()
    postgres_server.start()
    assert backend.newest() == held, "the connection broke while nobody looked"


def test_a_server_that_hangs_is_not_waited_for(database, postgres_server, road_to):
    road = road_to(postgres_server.port)
    address = database("policy_writer").replace(str(postgres_server.port), str(road.port))
    backend = PostgresBackend(address, seconds=0.5)
    held = backend.newest()
    road.slow(60.0)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="does not answer"):
        backend.newest()
    assert time.monotonic() - began < 20.0
    road.quick()
    assert backend.newest() == held


def test_an_endpoint_keeps_the_last_version_while_the_database_is_gone_and_says_its_age(database, postgres_server):
    postgres_server.sql("TRUNCATE fairtag_policy", database="policy")
    store, now = LivePolicyStore(PostgresBackend(database("policy_writer"))), [0.0]
    follower = PolicyFollower(
        LivePolicyStore(PostgresBackend(database("policy_reader"))), stale_seconds=60.0, clock=lambda: now[0]
    )
    store.change(ShopPolicy().changed(exploration=0.0), who="ada", why="x")
    assert follower.refresh()
    postgres_server.stop()
    try:
        now[0] = 50.0
        assert not follower.refresh()
        assert (follower.policy.exploration, follower.age, follower.fail_safe) == (0.0, 50.0, False)
        now[0] = 61.0
        follower.refresh()
        assert follower.fail_safe
    finally:
        postgres_server.start()
    follower.refresh()
    assert (follower.policy.exploration, follower.fail_safe, follower.age) == (0.0, False, 0.0)


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
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        found = open_backend(f"{scheme}://ada:secret@host:5432/policy?password=secret")
        assert isinstance(found, PostgresBackend)
        assert "secret" not in found.name
