"""What guards the console: headers, cookies, forms of other sites, users and roles, sessions that end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from console.app import console_app
from console.audit import AuditLog
from console.sessions import COOKIE, Sessions
from console.settings import ConsoleSettings
from console.users import add_user
from fairtag.base.errors import ConfigError
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.shop_policy import ShopPolicy


def test_no_answer_lets_a_browser_run_or_frame_anything_from_elsewhere(console):
    answer = console().get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_no_page_has_an_inline_script_style_or_handler(console):
    html = console().see("/?q=drill")
    assert "<style" not in html
    assert " style=" not in html
    assert " onclick=" not in html
    assert html.count("<script ") == 1


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(console):
    cookie = console(secure_cookies=True).get("/").headers["set-cookie"]
    assert cookie.startswith(COOKIE)
    assert {"HttpOnly", "SameSite=lax", "Secure"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.parametrize(
    ("host", "chosen", "secure"),
    [("127.0.0.1", None, False), ("0.0.0.0", None, True), ("0.0.0.0", False, False), ("127.0.0.1", True, True)],
)
def test_cookies_go_over_https_alone_on_any_address_but_the_loopback(console, users, host, chosen, secure):
    answer = console(host=host, users_file=users[0], secure_cookies=chosen).get("/login")
    assert ("Secure" in answer.headers["set-cookie"]) == secure
    assert ("strict-transport-security" in answer.headers) == secure


def test_a_browser_that_sends_no_cookie_is_told_why(console, users):
    browser = console(host="0.0.0.0", users_file=users[0])  # reached by http: the cookie stays at home
    browser.see("/login")
    html = browser.submit("/login", status=403, token="any", next="/")
    assert "your browser sent no cookie" in html.lower()


def test_what_is_sent_after_a_session_has_ended_is_not_done_and_leads_back_to_its_page(console, users, tmp_path: Path):
    file, tokens = users
    browser = console(users_file=file)
    browser.see("/")
    browser.submit("/login", token=tokens["merchandiser"], next="/policy")
    browser.cookies.clear()
    answer = browser.post(
        "/stop",
        data={"csrf": "old", "what": "all", "why": "x"},
        headers={"referer": "http://127.0.0.1:8090/policy?a=1"},
    )
    assert "was not done" in answer.text
    assert str(answer.url).endswith("/login?next=/policy%3Fa%3D1")
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize(
    ("fields", "headers"),
    [({}, {}), ({"csrf": "guessed"}, {}), (None, {"origin": "https://elsewhere.example"})],
    ids=["no token", "a guessed token", "another site"],
)
def test_a_form_that_did_not_come_from_a_page_of_the_session_is_refused(console, tmp_path: Path, fields, headers):
    browser = console()
    browser.see("/")
    given = {"csrf": browser.token} if fields is None else fields
    answer = browser.post("/stop", data={"what": "all", "why": "x", **given}, headers=headers)
    assert answer.status_code == 403
    assert not (tmp_path / "policy").exists()


def test_another_host_name_is_refused_so_that_no_site_can_point_its_own_at_the_loopback(console):
    assert console().get("/", headers={"host": "evil.example"}).status_code == 400


def test_a_probe_that_comes_by_the_pod_s_address_is_answered_and_no_page_is(console):
    pod = {"host": "10.244.0.7:8090"}
    assert console().get("/healthz", headers=pod).text == "ok\n"
    assert console().get("/", headers=pod).status_code == 400


def test_other_machines_are_let_in_only_where_users_sign_in():
    with pytest.raises(ConfigError, match="nobody would have to sign in"):
        console_app(ConsoleSettings(host="0.0.0.0"))


@pytest.fixture
def users(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    file = tmp_path / "users.json"
    return file, {role: add_user(file, f"the-{role}", role) for role in ("viewer", "merchandiser")}


def test_a_stranger_sees_the_way_in_alone_and_a_user_gets_where_they_wanted(console, users, tmp_path: Path):
    file, tokens = users
    browser = console(users_file=file)
    assert "Sign in" in browser.see("/compare?q=drill")
    assert "Nobody has this token" in browser.submit("/login", status=401, token="guessed", next="/compare")
    html = browser.submit("/login", token=tokens["viewer"], next="/compare?q=drill")
    assert "Two customers side by side" in html
    assert "the-viewer" in html
    outcomes = [(entry.who, entry.outcome) for entry in AuditLog(tmp_path / "state").entries()]
    assert outcomes == [("", "refused: nobody has this token"), ("the-viewer", "done")]


def test_signing_in_gives_a_new_cookie_so_that_an_old_one_is_worth_nothing(console, users):
    file, tokens = users
    browser = console(users_file=file)
    browser.see("/")
    before = browser.cookies[COOKIE]
    browser.submit("/login", token=tokens["viewer"], next="/")
    assert browser.cookies[COOKIE] != before


def test_a_role_may_only_do_what_it_may(console, users, tmp_path: Path):
    file, tokens = users
    browser = console(users_file=file)
    browser.see("/")
    browser.submit("/login", token=tokens["viewer"], next="/")
    assert 'data-dialog="stop-dialog"' not in browser.see("/")
    assert "takes the role merchandiser" in browser.submit("/stop", status=403, what="all", why="x")
    assert not (tmp_path / "policy").exists()


def test_a_user_who_is_removed_is_out_at_the_next_request(console, users):
    file, tokens = users
    browser = console(users_file=file)
    browser.see("/")
    browser.submit("/login", token=tokens["viewer"], next="/")
    file.write_text('{"schema": "fairtag.console-users/1", "users": []}')
    assert "Sign in" in browser.see("/")


def test_the_file_of_users_holds_no_token(users):
    file, tokens = users
    text = file.read_text()
    assert not any(token in text for token in tokens.values())
    assert file.stat().st_mode & 0o077 == 0


def test_the_way_in_leads_to_no_other_site(console, users):
    file, tokens = users
    browser = console(users_file=file)
    browser.see("/")
    answer = browser.post(
        "/login",
        data={"csrf": browser.token, "token": tokens["viewer"], "next": "//elsewhere.example"},
        follow_redirects=False,
    )
    assert answer.headers["location"] == "/"


def test_sessions_end_by_silence_by_age_and_by_signing_out():
    clock = [0.0]
    sessions = Sessions(10, 100, 5, clock=lambda: clock[0])
    token, session = sessions.begin(None)
    clock[0] = 9.0
    assert sessions.find(token) is session
    clock[0] = 20.0
    assert sessions.find(token) is None, "silent for 11 seconds"
    token, _ = sessions.begin(None)
    for _ in range(11):
        clock[0] += 9
        assert sessions.find(token) is not None
    clock[0] += 9
    assert sessions.find(token) is None, "108 seconds old"
    token, _ = sessions.begin(None)
    sessions.end(token)
    assert sessions.find(token) is None


def test_many_strangers_do_not_end_the_session_of_somebody_who_is_signed_in():
    from console.users import Role, User

    sessions = Sessions(10, 100, 3, clock=lambda: 0.0)
    token, session = sessions.begin(User("ada", Role.ADMIN))
    for _ in range(10):
        sessions.begin(None)
    assert sessions.find(token) is session
    assert len(sessions) == 3


def test_a_console_gives_a_new_store_of_the_policy_what_it_lacks(tmp_path: Path):
    LivePolicyStore(tmp_path / "old").change(ShopPolicy(at_list=True), who="ada", why="x")
    stores = f"{tmp_path / 'old'},{tmp_path / 'new'}"
    settings = ConsoleSettings(url="http://127.0.0.1:1", policy_store=stores, state_dir=tmp_path / "state")
    with TestClient(console_app(settings), base_url="http://127.0.0.1"):
        end = time.monotonic() + 60
        while not (tmp_path / "new" / "000001.json").is_file():
            assert time.monotonic() < end
            time.sleep(0.01)
