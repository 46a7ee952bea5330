"""The live policy: versions that nobody can alter unseen, and an undo that goes back exactly."""

import json

import pytest

from fairtag.base.errors import ConfigError, DataError
from fairtag.policy.live_policy import LivePolicy, LivePolicyStore, in_words

STOP, IMPERSONAL = LivePolicy(at_list=True), LivePolicy(personal_prices=False)
ADA = {"who": "ada", "why": "costs are wrong"}


@pytest.fixture
def store(tmp_path):
    return LivePolicyStore(tmp_path / "policy")


def test_before_the_first_change_nothing_is_narrowed(store):
    assert (store.current().version, store.current().policy) == (0, LivePolicy())
    with pytest.raises(ConfigError, match="no change to undo"):
        store.undo(**ADA)


def test_every_change_says_who_when_why_and_what(store):
    store.change(IMPERSONAL, **ADA)
    store.change(LivePolicy(at_list=True, personal_prices=False), who="bo", why="still wrong")
    first, second = store.history()
    assert (first.version, first.who, first.why, first.difference) == (1, *ADA.values(), ("personal prices off",))
    assert second.difference == ("everything at list price, inside the fairness corridor",)
    assert first.at.endswith("+00:00")
    assert in_words(second.policy) == ("everything at list price, inside the fairness corridor", "personal prices off")


def test_undo_goes_back_one_change_at_a_time(store):
    store.change(IMPERSONAL, **ADA)
    store.change(LivePolicy(at_list=True, personal_prices=False), **ADA)
    assert store.undo(**ADA).policy == IMPERSONAL
    assert store.undo(**ADA).policy == LivePolicy()
    with pytest.raises(ConfigError, match="no change to undo"):
        store.undo(**ADA)
    assert [change.undoes for change in store.history()] == [0, 0, 2, 1]
    assert store.change(STOP, **ADA).version == 5


@pytest.mark.parametrize("who", ["", " "])
def test_a_change_without_a_name_or_that_changes_nothing_is_refused(store, who):
    with pytest.raises(ConfigError, match="who and why"):
        store.change(STOP, who=who, why="x")
    with pytest.raises(ConfigError, match="says the same"):
        store.change(LivePolicy(), **ADA)


def test_of_two_changes_at_once_one_is_told_of_the_other(store, monkeypatch):
    store.change(STOP, **ADA)
    stale = LivePolicyStore(store._folder)
    monkeypatch.setattr(stale, "current", lambda: LivePolicyStore(store._folder / "none").current())
    with pytest.raises(ConfigError, match="somebody else"):
        stale.change(IMPERSONAL, **ADA)
    assert len(list(store._folder.iterdir())) == 1, "and nothing half-written is left"


@pytest.mark.parametrize("damage", ["edit", "remove", "cut"])
def test_an_altered_version_is_noticed(store, damage):
    store.change(STOP, **ADA)
    store.change(LivePolicy(at_list=True, personal_prices=False), **ADA)
    file = store._folder / "000001.json"
    document = json.loads(file.read_text())
    if damage == "edit":
        file.write_text(json.dumps({**document, "policy": {"at_list": False, "personal_prices": True}}))
    elif damage == "cut":
        file.write_text(file.read_text()[:40])
    else:
        file.unlink()
    with pytest.raises(DataError, match=r"000001\.json"):
        store.current()
