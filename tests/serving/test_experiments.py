"""An experiment on a running endpoint: every protocol and the log say the arm, it never moves, and a stop ends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.shop_policy import ShopPolicy
from serving.custody.erasure import Places, erase
from serving.custody.pseudonyms import Subjects
from serving.page.core import ModelCore
from serving.page.customers import SESSION, Pseudonyms
from serving.protocol.client import GrpcClient, RestClient

SEARCH = {"query": "oak bookcase", "page_size": 8, "jurisdiction": "US-NY"}
EXPERIMENT = {
    "name": "learned-1",
    "effect": 0.4,
    "holdout": 0.2,
    "arms": [{"name": "list", "share": 0.5, "prices": "list"}, {"name": "learned", "share": 0.5}],
}
USERS = [f"user-{n}" for n in range(24)]


def begin(run_dir: Path, *experiments: dict[str, Any]) -> None:
    policy = ShopPolicy().changed(experiments=list(experiments))
    LivePolicyStore(run_dir / "policy").change(policy, who="ada", why="a test")


def arms(running: Any, users: list[str]) -> dict[str, str | None]:
    return {user: running.page(**SEARCH, user_id=user)["arm"] for user in users}


@pytest.fixture(scope="module")
def core(model_folder: Path) -> ModelCore:
    return ModelCore.load(model_folder, 1)


def test_every_protocol_and_the_log_say_experiment_and_arm(serve: Callable[..., Any], core: ModelCore) -> None:
    with serve(core=core) as before:
        assert before.page(**SEARCH)["experiment"] is None
    run_dir = before.run_dir
    begin(run_dir, EXPERIMENT)
    with serve(core=core) as running:
        found = arms(running, USERS)
        assert set(found.values()) == {"list", "learned", "holdout"}
        for client in (RestClient(running.http), RestClient(running.http, v2=True), GrpcClient(running.grpc)):
            with client:
                page = client.pages([{**SEARCH, "user_id": USERS[0]}])[0]
                assert (page["experiment"], page["arm"]) == ("learned-1", found[USERS[0]])
        listed = next(user for user, arm in found.items() if arm == "list")
        page = running.page(**SEARCH, user_id=listed)
        assert all("EXPERIMENT" in item["reasons"] for item in page["items"])
        with RestClient(running.http) as client:
            (why,) = client.explain([{**SEARCH, "user_id": listed}])
        assert [item["price_minor"] for item in why["items"]] == [item["price_minor"] for item in page["items"]]
    log = pd.concat(pd.read_parquet(file) for file in (run_dir / "quotes").rglob("*.parquet"))
    last = log[log[schema.EXPERIMENT].notna()]
    assert set(last[schema.ARM]) == {"list", "learned", "holdout"}
    assert last.groupby(schema.USER_KEY)[schema.ARM].nunique().max() == 1
    assert log[log[schema.EXPERIMENT].isna()][schema.ARM].isna().all()


def test_a_guests_session_has_a_name_in_the_log_while_an_experiment_runs_and_is_erased_by_it(
    serve: Callable[..., Any], core: ModelCore, tmp_path: Path
) -> None:
    key, quotes = bytes(range(32)).hex(), tmp_path / "run" / "quotes"
    with serve(core=core, user_key=key) as before:
        before.page(**SEARCH, session_id="first")
    assert set(rows(quotes)[schema.GUEST_KEY]) == {None}, "outside of an experiment guests stay nameless"
    begin(tmp_path / "run", EXPERIMENT)
    with serve(core=core, user_key=key) as running:
        for session in ("first", "first", "second"):
            running.page(**SEARCH, session_id=session)
        running.page(**SEARCH, user_id="user-1", session_id="first")
    tested = rows(quotes)[lambda log: log[schema.EXPERIMENT].notna()].groupby(schema.QUOTE_ID).first()
    first, second = (Pseudonyms([bytes.fromhex(key)]).guest_keys(name)[0] for name in ("first", "second"))
    assert tested[schema.GUEST_KEY].value_counts().to_dict() == {first: 2, second: 1}
    assert (tested[schema.USER_KEY].isna() == tested[schema.GUEST_KEY].notna()).all(), "a customer is no guest"
    assert not {first, second} & {
        name for who in ("first", "second") for name in Pseudonyms([bytes.fromhex(key)]).names(SESSION, who)
    }, "the log cannot be joined with the price locks"
    places = Places((bytes.fromhex(key),), quotes=str(quotes))
    report = erase(Subjects(sessions=frozenset({"first"})), places)
    assert [each.count for each in report.erased] == [16]
    assert set(rows(quotes)[schema.GUEST_KEY].dropna()) == {second}


def rows(folder: Path) -> pd.DataFrame:
    return pd.concat(pd.read_parquet(file) for file in folder.rglob("*.parquet"))


def test_an_arm_outlives_requests_restarts_and_a_new_user_key(
    serve: Callable[..., Any], core: ModelCore, tmp_path: Path
) -> None:
    begin(tmp_path / "run", EXPERIMENT)
    old, new = bytes(range(32)).hex(), bytes(range(32, 64)).hex()
    with serve(core=core) as running:
        first = arms(running, USERS)
        guest = running.page(**SEARCH)
        again = running.page(**SEARCH, session_id=guest["session_id"])
        assert again["arm"] == guest["arm"], "a guest's session keeps its arm"
    with serve(core=core, user_key=f"{new}\n{old}") as rotated:
        assert arms(rotated, USERS) == first


def test_a_stop_ends_it_and_prices_that_were_promised_stay(
    serve: Callable[..., Any], core: ModelCore, tmp_path: Path, until: Callable[..., None]
) -> None:
    begin(tmp_path / "run", {**EXPERIMENT, "holdout": 0.0})
    with serve(core=core, policy_seconds=0.05) as running:
        found = arms(running, USERS)
        listed = [user for user, arm in found.items() if arm == "list"]
        before = running.page(**SEARCH, user_id=listed[0])
        begin(tmp_path / "run", {**EXPERIMENT, "holdout": 0.0, "stopped": True})
        until(lambda: running.page(**SEARCH, user_id="other")["policy_version"] == 2)
        after = running.page(**SEARCH, user_id=listed[0])
        assert (after["experiment"], after["arm"]) == (None, None)
        prices = [[item["price_minor"] for item in page["items"]] for page in (before, after)]
        assert prices[0] == prices[1], "what was shown today is shown until the price day ends"
        LivePolicyStore(tmp_path / "run" / "policy").undo(who="ada", why="on with it")
        until(lambda: running.page(**SEARCH, user_id="other")["policy_version"] == 3)
        assert arms(running, USERS) == found, "and the same customers are in the same arms again"


def test_nobody_is_in_an_experiment_while_everything_is_at_list(
    serve: Callable[..., Any], core: ModelCore, tmp_path: Path
) -> None:
    policy = ShopPolicy().changed(experiments=[EXPERIMENT], at_list=True)
    LivePolicyStore(tmp_path / "run" / "policy").change(policy, who="ada", why="a test")
    with serve(core=core) as running:
        assert running.page(**SEARCH)["experiment"] is None
