"""The models page: what it says with and without the right to deploy, who may, and what is confirmed before."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.audit import AuditLog
from console.users import add_user
from fairtag.base.errors import DecisionRejected
from fairtag.model.manifest import read_manifest

DIGEST = "abcdef012345" + "0" * 52


class Desk:
    """Whoever deploys models: writes down what is asked of it."""

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []
        self.refuse = False

    def versions(self) -> list[dict[str, str]]:
        return [{"version": "2", "alias": "challenger", "model-digest": DIGEST}]

    def before(self) -> str:
        return "0123456789ab"

    def promote(self, version: str, who: str, why: str) -> str:
        if self.refuse:
            raise DecisionRejected("the decision is rejected: relevance")
        self.done.append(("promote", version, who, why))
        return f"Version {version} is live."

    def rollback(self, who: str, why: str) -> str:
        self.done.append(("rollback", who, why))
        return "Model 0123456789ab is live again."


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def live(model_folder: Path) -> str:
    return str(read_manifest(model_folder)["version"])


def test_a_promotion_is_confirmed_with_a_reason_and_written_down(console, desk, model_folder, live, tmp_path: Path):
    browser = console(model_folder=model_folder, deployment=desk)
    assert "/models/promote?version=2" in browser.see("/models/registered")
    html = browser.see("/models/promote?version=2")
    assert "Make version 2 live?" in html
    assert f"model {live}" in html
    assert "abcdef012345, challenger of the registry" in html
    assert "a reason, in words, is needed" in browser.submit("/models/promote", status=400, version="2", live=live)
    assert "Version 2 is live." in browser.submit("/models/promote", version="2", live=live, why="it earns more")
    assert [(done[0], done[1], done[3]) for done in desk.done] == [("promote", "2", "it earns more")]
    refused, done = AuditLog(tmp_path / "state").entries()
    assert (refused.action, refused.outcome[:8]) == ("models/promote", "refused:")
    assert (done.outcome, done.fields["why"]) == ("done", "it earns more")


def test_a_rollback_names_the_model_that_it_goes_back_to(console, desk, model_folder, live):
    browser = console(model_folder=model_folder, deployment=desk)
    assert "Roll back to model 0123456789ab" in browser.see("/models")
    assert "0123456789ab" in browser.see("/models/rollback")
    assert "is live again" in browser.submit("/models/rollback", live=live, why="it sells less")
    assert [done[2] for done in desk.done] == ["it sells less"]


def test_what_was_confirmed_while_another_model_was_live_is_refused(console, desk, model_folder):
    browser = console(model_folder=model_folder, deployment=desk)
    browser.see("/models/promote?version=2")
    html = browser.submit("/models/promote", status=400, version="2", live="fedcba987654", why="x")
    assert "went live since you looked" in html
    assert desk.done == []


def test_a_model_that_the_decision_rejects_stays_where_it_is(console, desk, model_folder, live):
    desk.refuse = True
    browser = console(model_folder=model_folder, deployment=desk)
    browser.see("/models/promote?version=2")
    assert "is rejected" in browser.submit("/models/promote", status=409, version="2", live=live, why="x")


def test_a_version_that_is_not_registered_is_not_confirmed(console, desk, model_folder):
    console(model_folder=model_folder, deployment=desk).see("/models/promote?version=9", status=404)


@pytest.mark.parametrize(("role", "may"), [("merchandiser", False), ("approver", True)])
def test_only_an_approver_deploys(console, desk, model_folder, live, tmp_path: Path, role, may):
    token = add_user(tmp_path / "users.json", "ada", role)
    browser = console(model_folder=model_folder, deployment=desk, users_file=tmp_path / "users.json")
    browser.see("/")
    browser.submit("/login", token=token, next="/models")
    assert ("Roll back to" in browser.see("/models")) == may
    assert ("/models/promote" in browser.see("/models/registered")) == may
    browser.see("/models/promote?version=2", status=200 if may else 403)
    browser.see("/models")  # any page has a token for a forged form
    browser.submit("/models/promote", status=200 if may else 403, version="2", live=live, why="x")
    assert bool(desk.done) == may


def test_a_form_without_the_sessions_token_deploys_nothing(console, desk, model_folder, live):
    browser = console(model_folder=model_folder, deployment=desk)
    browser.see("/models/rollback")
    answer = browser.post("/models/rollback", data={"live": live, "why": "x", "csrf": "guessed"})
    assert answer.status_code == 403
    assert desk.done == []


def test_a_console_that_may_not_deploy_says_with_which_commands_it_is_done(console, endpoint):
    endpoint.model_version = "served123456"
    browser = console()
    html = browser.see("/models")
    assert "serves model served123456" in html
    assert "fairtag promote" in html
    assert "fairtag rollback" in html
    assert "Promote<" not in html
    assert "may not change models" in browser.see("/models/promote?version=2", status=400)


def test_an_endpoint_that_serves_another_model_is_said_before_and_after(console, desk, model_folder, endpoint, live):
    endpoint.model_version = "elsewhere123"
    browser = console(model_folder=model_folder, deployment=desk)
    assert "it may not follow" in browser.see("/models/rollback")
    assert f'data-follow="{live}" data-from="/models/status"' in browser.see("/models")
    assert browser.get("/models/status").json() == {"live": live, "endpoint": "elsewhere123"}
