"""The live policy: versions that nobody can alter unseen, and an undo that goes back exactly."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fairtag.base.errors import ConfigError, DataError, UnavailableError
from fairtag.model.signature import key_id, policy_signer, policy_verifier
from fairtag.policy.live_policy import LivePolicyStore, in_words, open_store
from fairtag.policy.policy_backends import FolderBackend
from fairtag.policy.shop_policy import ShopPolicy

STOP, IMPERSONAL = ShopPolicy(at_list=True), ShopPolicy().changed(personal_prices={"allowed": False})
BOTH = STOP.changed(personal_prices={"allowed": False})
ADA = {"who": "ada", "why": "costs are wrong"}


class Down(FolderBackend):
    """A backend that may be made not to answer."""

    down = False

    def newest(self):
        if self.down:
            raise UnavailableError(f"{self.name}: down")
        return super().newest()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "policy"


@pytest.fixture
def store(folder):
    return LivePolicyStore(FolderBackend(folder))


def test_before_the_first_change_nothing_is_narrowed(store):
    assert (store.current().version, store.current().policy) == (0, ShopPolicy())
    with pytest.raises(ConfigError, match="no change to undo"):
        store.undo(**ADA)


def test_every_change_says_who_when_why_and_what(store):
    store.change(IMPERSONAL, **ADA)
    store.change(BOTH, who="bo", why="still wrong", approved_by="eve")
    first, second = store.history()
    assert (first.version, first.who, first.why, first.difference) == (1, *ADA.values(), ("personal prices off",))
    assert second.difference == ("everything at list price, inside the fairness corridor",)
    assert (first.at[-6:], second.approved_by) == ("+00:00", "eve")
    assert in_words(second.policy) == ("everything at list price, inside the fairness corridor", "personal prices off")


def test_undo_goes_back_one_change_at_a_time(store):
    store.change(IMPERSONAL, **ADA)
    store.change(BOTH, **ADA)
    assert store.undo(**ADA).policy == IMPERSONAL
    assert store.undo(**ADA).policy == ShopPolicy()
    with pytest.raises(ConfigError, match="no change to undo"):
        store.undo(**ADA)
    assert [change.undoes for change in store.history()] == [0, 0, 2, 1]
    assert store.change(STOP, **ADA).version == 5


@pytest.mark.parametrize("who", ["", " "])
def test_a_change_without_a_name_or_that_changes_nothing_is_refused(store, who):
    with pytest.raises(ConfigError, match="who and why"):
        store.change(STOP, who=who, why="x")
    with pytest.raises(ConfigError, match="says the same"):
        store.change(ShopPolicy(at_list=False), **ADA)


def test_of_two_changes_at_once_one_is_told_of_the_other(store, folder, monkeypatch):
    store.change(STOP, **ADA)
    stale = FolderBackend(folder)
    monkeypatch.setattr(stale, "newest", lambda: 0)
    with pytest.raises(ConfigError, match="somebody else"):
        LivePolicyStore(stale).change(IMPERSONAL, **ADA)
    assert len(list(folder.iterdir())) == 1, "and nothing half-written is left"


@pytest.mark.parametrize("damage", ["edit", "remove", "cut"])
def test_an_altered_version_is_noticed(store, folder, damage):
    store.change(STOP, **ADA)
    store.change(BOTH, **ADA)
    file = folder / "000001.json"
    document = json.loads(file.read_text())
    if damage == "edit":
        file.write_text(json.dumps({**document, "policy": {"at_list": False}}))
    elif damage == "cut":
        file.write_text(file.read_text()[:40])
    else:
        file.unlink()
    with pytest.raises(DataError, match=r"000001\.json"):
        store.current()


def test_only_later_versions_are_read_where_earlier_ones_are_known(store, folder):
    known = (store.change(STOP, **ADA),)
    store.change(BOTH, **ADA)
    (folder / "000001.json").unlink()
    assert [change.version for change in store.history(known)] == [1, 2]


def test_a_version_that_nobody_trusted_signed_is_refused(folder):
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    trusted = policy_verifier({key_id(key.public_key()): key.public_key()})
    backend = FolderBackend(folder)
    LivePolicyStore(backend, sign=policy_signer(key), verify=trusted).change(STOP, **ADA)
    assert LivePolicyStore(backend, verify=trusted).current().policy == STOP
    LivePolicyStore(backend, sign=policy_signer(other)).change(BOTH, **ADA)
    with pytest.raises(DataError, match="no trusted key signed it"):
        LivePolicyStore(backend, verify=trusted).current()
    assert LivePolicyStore(backend).current().policy == BOTH, "without keys no signature is asked for"


def test_a_signature_of_another_version_does_not_count(folder):
    key = Ed25519PrivateKey.generate()
    trusted = policy_verifier({key_id(key.public_key()): key.public_key()})
    store = LivePolicyStore(FolderBackend(folder), sign=policy_signer(key), verify=trusted)
    store.change(STOP, **ADA)
    store.change(BOTH, **ADA)
    first, second = (json.loads((folder / f"00000{n}.json").read_text()) for n in (1, 2))
    (folder / "000002.json").write_text(json.dumps({**second, "signature": first["signature"]}))
    with pytest.raises(DataError, match=r"000002\.json.*signature"):
        store.current()


def test_a_change_reaches_the_backends_that_answer_and_later_the_others(tmp_path):
    first, second = Down(tmp_path / "a"), Down(tmp_path / "b")
    store = LivePolicyStore(first, second)
    store.change(IMPERSONAL, **ADA)
    first.down = True
    store.change(BOTH, **ADA)
    assert (store.missed, store.current().policy) == ((f"{first.name}: it does not answer",), BOTH)
    first.down = False
    assert store.current().version == 2, "the longest history counts"
    store.undo(**ADA)
    assert (first.newest(), second.newest(), store.missed) == (3, 3, ())
    assert LivePolicyStore(first).history() == LivePolicyStore(second).history()


def test_a_backend_that_is_new_or_was_down_gets_what_it_lacks(tmp_path):
    old, new = Down(tmp_path / "old"), Down(tmp_path / "new")
    LivePolicyStore(old).change(STOP, **ADA)
    store = LivePolicyStore(old, new)
    assert store.catch_up() == 1
    old.down = True
    store.undo(**ADA)
    assert LivePolicyStore(new).current().version == 2
    old.down = False
    assert (store.catch_up(), store.catch_up()) == (1, 0)
    assert LivePolicyStore(old).history() == LivePolicyStore(new).history()


def test_nothing_that_cannot_be_trusted_is_copied(tmp_path):
    old, new = FolderBackend(tmp_path / "old"), FolderBackend(tmp_path / "new")
    LivePolicyStore(old).change(STOP, **ADA)
    file = tmp_path / "old" / "000001.json"
    file.write_text(file.read_text().replace("costs", "wishes"))
    with pytest.raises(DataError, match="altered"):
        LivePolicyStore(old, new).catch_up()
    assert new.newest() == 0


class Vanishing(FolderBackend):
    """A backend whose versions can be read once."""

    def __init__(self, folder):
        super().__init__(folder)
        self.read_before = set()

    def read(self, number):
        gone = number in self.read_before
        self.read_before.add(number)
        return None if gone else super().read(number)


def test_a_version_that_vanishes_meanwhile_is_not_copied_as_an_empty_one(tmp_path):
    LivePolicyStore(FolderBackend(tmp_path / "old")).change(STOP, **ADA)
    old, new = Vanishing(tmp_path / "old"), FolderBackend(tmp_path / "new")
    with pytest.raises(DataError, match="version 1 is gone"):
        LivePolicyStore(old, new).catch_up()
    assert new.newest() == 0


def test_no_second_history_begins_while_the_longer_one_does_not_answer(tmp_path):
    old, new = Down(tmp_path / "old"), FolderBackend(tmp_path / "new")
    LivePolicyStore(old).change(STOP, **ADA)
    store = LivePolicyStore(old, new)
    assert store.current().version == 1
    old.down = True
    with pytest.raises(UnavailableError, match="version 1 lies in a store that does not answer"):
        store.change(BOTH, **ADA)
    assert new.newest() == 0


def test_where_no_backend_answers_nothing_is_known(tmp_path):
    backend = Down(tmp_path)
    backend.down = True
    with pytest.raises(UnavailableError, match="down"):
        LivePolicyStore(backend).change(STOP, **ADA)


def test_two_backends_that_disagree_are_not_believed(tmp_path):
    backends = FolderBackend(tmp_path / "a"), FolderBackend(tmp_path / "b")
    LivePolicyStore(backends[0]).change(STOP, **ADA)
    LivePolicyStore(backends[1]).change(IMPERSONAL, **ADA)
    with pytest.raises(DataError, match="different versions"):
        LivePolicyStore(*backends).current()


def test_addresses_name_the_backends(tmp_path):
    store = open_store(f"{tmp_path}/a, memory://policy")
    assert store.names == (f"{tmp_path}/a", "memory://policy")
