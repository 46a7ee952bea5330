"""Sign-in with OpenID Connect against a provider that signs real tokens: who gets in, and who does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from support.loading import load

from console.app import console_app
from console.audit import AuditLog
from console.sessions import COOKIE
from console.settings import ConsoleSettings
from console.users import add_user
from fairtag.base.errors import ConfigError

PUBLIC = "http://127.0.0.1:8090"


OIDC = load("console/oidc_provider.py")


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with OIDC.provider(PUBLIC) as found:
        yield found


@pytest.fixture
def provider(running: Any) -> Any:
    """The provider as it is before somebody bends it."""
    vars(running).update(vars(OIDC.Provider(running.issuer, running.redirect_uri)))
    return running


@pytest.fixture
def given(provider: Any, tmp_path: Path) -> dict[str, Any]:
    """The settings of a console that knows the provider."""
    (tmp_path / "client-secret").write_text(OIDC.SECRET + "\n")
    return {
        "public_url": PUBLIC,
        "oidc_issuer": provider.issuer,
        "oidc_client_id": OIDC.CLIENT,
        "oidc_client_secret_file": tmp_path / "client-secret",
    }


@pytest.fixture
def browser(console: Callable[..., Any], given: dict[str, Any]) -> Any:
    return console(**given)


def to_provider(browser: Any, to: str = "/compare") -> str:
    """Where the provider sends a browser back to, on its way from the login page."""
    answer = browser.get(f"/login/provider?next={to}", follow_redirects=False)
    assert answer.status_code == 303, answer.text
    back = httpx.get(answer.headers["location"]).headers["location"]
    assert back.startswith(PUBLIC + "/login/callback?")
    return str(back.removeprefix(PUBLIC))


def sign_in(browser: Any, status: int = 200) -> str:
    answer = browser.get(to_provider(browser))
    assert answer.status_code == status, answer.text
    return str(answer.text)


def test_who_is_known_and_has_a_role_gets_where_they_wanted_to_go(browser, provider, tmp_path: Path):
    assert "Sign in with" in browser.see("/compare"), "nobody is let in without signing in"
    html = sign_in(browser)
    assert "Two customers side by side" in html
    assert "ada@example.com <small>viewer</small>" in html
    (asked,) = provider.asked
    assert asked["scope"] == "openid email profile"
    assert len(asked["state"]) > 20
    assert len(asked["nonce"]) >= 20
    assert len(asked["code_challenge"]) == 43
    (entry,) = AuditLog(tmp_path / "state").entries()
    assert (entry.who, entry.role, entry.outcome, entry.fields) == (
        "ada@example.com",
        "viewer",
        "done",
        {"subject": "248289761001"},
    )


@pytest.mark.parametrize(
    ("bent", "said"),
    [
        ({"claims": {"nonce": "of another sign-in"}}, "nonce"),
        ({"claims": {"nonce": None}}, "nonce"),
        ({"claims": {"aud": "another-client"}}, "aud"),
        ({"claims": {"aud": ["another-client"], "azp": OIDC.CLIENT}}, "aud"),
        ({"claims": {"iss": "https://elsewhere.example"}}, "iss"),
        ({"claims": {"exp": 1_700_000_000, "iat": 1_600_000_000}}, "expired"),
        ({"claims": {"sub": None}}, "sub"),
        ({"header": {"alg": "none"}}, "none"),
        ({"header": {"alg": "HS256"}, "key": OIDC.shared_secret_key()}, "hs256"),
        ({"key": OIDC.another_key()}, "bad_signature"),
        ({"header": {"kid": "of nobody"}}, "kid"),
        ({"without_id_token": True}, "no ID token"),
        ({"claims": {"roles": ["warehouse"]}}, "no role of the console"),
        ({"claims": {"roles": None}}, "says nothing"),
        ({"claims": {"email": None}}, "did not say who you are"),
        ({"claims": {"email_verified": False}}, "has not verified"),
        ({"refuse": {"error": "access_denied", "error_description": "You said no."}}, "You said no."),
        ({"userinfo": {"sub": "somebody else", "roles": ["admin"]}, "claims": {"roles": None}}, "another person"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_answer_that_does_not_hold_lets_nobody_in(browser, provider, tmp_path: Path, bent, said):
    for name, value in bent.items():
        setattr(provider, name, value)
    alert = sign_in(browser, status=403).split('role="alert">')[1].split("</p>")[0]
    assert said.lower() in alert.lower()
    assert "Sign in with" in browser.see("/compare"), "nobody is signed in"
    (entry,) = AuditLog(tmp_path / "state").entries()
    assert entry.outcome.startswith("refused: ")


def test_a_state_that_was_made_elsewhere_is_refused(browser, provider):
    back = to_provider(browser)
    code = parse_qs(urlsplit(back).query)["code"][0]
    for state in ("forged", ""):
        answer = browser.get(f"/login/callback?code={code}&state={state}")
        assert (answer.status_code, "not begun in this browser" in answer.text) == (403, True)
    assert browser.get(back).status_code == 200, "the true one still counts"


def test_an_answer_of_another_browser_is_refused(console, given):
    back = to_provider(console(**given))
    assert console(**given).get(back).status_code == 403


def test_an_answer_counts_once(browser, provider):
    back = to_provider(browser)
    browser.get(back)
    browser.cookies.clear()
    assert browser.get(back).status_code == 403


def test_a_sign_in_that_took_too_long_begins_again(browser, monkeypatch: pytest.MonkeyPatch):
    back = to_provider(browser)
    monkeypatch.setattr("console.oidc.FLOW_SECONDS", -1.0)
    assert "longer than 10 minutes ago" in browser.get(back).text


def test_two_tabs_may_sign_in_at_once(browser):
    first, second = to_provider(browser, "/compare"), to_provider(browser, "/prices")
    assert "Two customers side by side" in browser.get(first).text
    assert browser.get(second).status_code == 200, "who is in already is not asked again"


def test_signing_in_gives_a_new_cookie(browser):
    back = to_provider(browser)
    before = browser.cookies[COOKIE]
    browser.get(back)
    assert browser.cookies[COOKIE] != before


def test_a_new_key_of_the_provider_is_read_when_a_token_names_it(browser, provider):
    sign_in(browser)
    browser.cookies.clear()
    provider.keys = [*provider.keys, OIDC.elliptic_key()]
    provider.header = {"alg": "ES256"}
    assert "unsupported" in sign_in(browser, status=403).lower(), "its discovery document names RS256 alone"
    browser.cookies.clear()
    provider.header, provider.keys = {}, [*provider.keys, OIDC.RSAKey.generate_key(2048, {"kid": "third"})]
    assert "ada@example.com" in sign_in(browser)


def test_groups_become_roles_and_the_highest_counts(console, given, provider):
    provider.claims = {"realm_access": {"roles": ["staff", "pricing", "pricing-leads"]}, "sub": "s1"}
    browser = console(
        **given,
        oidc_roles=("pricing=merchandiser", "pricing-leads=approver"),
        oidc_role_claim="realm_access.roles",
        oidc_name_claim="sub",
    )
    assert "s1 <small>approver</small>" in sign_in(browser)


def test_roles_that_only_the_userinfo_endpoint_tells_count(browser, provider):
    provider.claims, provider.userinfo = {"roles": None}, {"roles": "merchandiser other"}
    assert "<small>merchandiser</small>" in sign_in(browser)


def test_signing_out_ends_the_session_here_and_leads_to_the_providers(browser, provider):
    browser.token = browser.see("/login") and ""
    sign_in(browser)
    browser.see("/compare")
    html = browser.submit("/logout")
    address = html.split('content="0; url=')[1].split('"')[0].replace("&amp;", "&")
    back = httpx.get(address).headers["location"]
    assert back.startswith(f"{PUBLIC}/login?state=")
    (ended,) = provider.ended
    assert ended["client_id"] == OIDC.CLIENT
    assert ended["id_token_hint"].count(".") == 2
    assert "Sign in with" in browser.see("/compare")


def test_signing_out_stays_here_where_the_provider_has_no_such_page(browser, provider):
    provider.metadata = {"end_session_endpoint": None}
    sign_in(browser)
    browser.see("/compare")
    assert "Sign in with" in browser.submit("/logout")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"issuer": "https://elsewhere.example"}, "issuer https://elsewhere.example"),
        ({"token_endpoint": "http://elsewhere.example/token"}, "must begin with https://"),
        ({"jwks_uri": None}, "jwks_uri"),
    ],
)
def test_a_discovery_document_that_does_not_fit_is_refused(browser, provider, metadata, said):
    provider.metadata = metadata
    answer = browser.get("/login/provider")
    assert (answer.status_code, said in answer.text) == (503, True)
    provider.metadata = {}
    assert sign_in(browser), "it is read again when it fits"


def test_a_provider_that_is_down_is_a_page_and_a_token_still_opens(console, given, tmp_path: Path):
    token = add_user(tmp_path / "users.json", "root", "admin")
    browser = console(**given | {"oidc_issuer": "http://127.0.0.1:1"}, users_file=tmp_path / "users.json")
    answer = browser.get("/login/provider")
    assert answer.status_code == 503
    assert "cannot be used" in answer.text
    assert "Or with a token" in browser.see("/login")
    assert "root <small>admin</small>" in browser.submit("/login", token=token, next="/compare")


@pytest.mark.parametrize("left_out", ["public_url", "oidc_issuer", "oidc_client_id", "oidc_client_secret_file"])
def test_half_of_the_settings_are_refused_with_the_name_of_what_is_missing(given, left_out):
    half = {name: value for name, value in given.items() if name != left_out}
    with pytest.raises(ConfigError, match=f"half configured: set FAIRTAG_CONSOLE_{left_out.upper()}"):
        console_app(ConsoleSettings(**half))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"oidc_issuer": "http://login.example.com"}, "must begin with https://"),
        ({"oidc_issuer": "login.example.com"}, "must be an address"),
        ({"public_url": "http://prices.example.com"}, "must begin with https://"),
        ({"public_url": "https://example.com/prices"}, "without a path"),
        ({"oidc_roles": ("pricing=boss",)}, "write VALUE=ROLE"),
        ({"oidc_scopes": ("email",)}, "openid must be among them"),
        ({"oidc_client_secret_file": Path("/nowhere")}, "cannot be read"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(given, wrong, said):
    with pytest.raises(ConfigError, match=said):
        console_app(ConsoleSettings(**{**given, **wrong}))


def test_the_environment_holds_lists_with_commas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FAIRTAG_CONSOLE_OIDC_ROLES", "pricing=merchandiser, pricing-leads=approver")
    monkeypatch.setenv("FAIRTAG_CONSOLE_OIDC_SCOPES", "openid,groups")
    settings = ConsoleSettings()
    assert settings.oidc_roles == ("pricing=merchandiser", "pricing-leads=approver")
    assert settings.oidc_scopes == ("openid", "groups")
