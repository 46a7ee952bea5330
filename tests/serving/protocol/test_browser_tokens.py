"""Browser tokens: issued to the shop's server alone, for one session, one origin and some minutes, to read pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from fairtag.base.errors import RequestError
from serving.keys import QuoteKeys
from serving.protocol.browser_tokens import BrowserToken, BrowserTokens
from serving.protocol.payload import PageRequest, TokenRequest
from serving.settings import Limits
from serving.stores.price_locks import Trust

V1, V2 = "/v1/models/fairtag:predict", "/v2/models/fairtag/infer"
SHOP, OTHER = "https://shop.example", "https://evil.example"
KEY = {"authorization": "Bearer right-key"}
KEYS = QuoteKeys("k1", {"k1": bytes(32)})


@pytest.fixture
def keyed(serve: Callable[..., Any], tmp_path: Path) -> Iterator[Any]:
    """A server with an API key, which a page of the shop may call."""
    (tmp_path / "keys").write_text("right-key\n")
    with serve(api_keys_file=tmp_path / "keys", allowed_origins=(SHOP,), limits=Limits(wrong_keys=3)) as running:
        yield running


def issue(running: Any, **changes: Any) -> str:
    asked = {"session_id": "s-1", "origin": SHOP, **changes}
    answer = httpx.post(f"{running.http}/v1/browser-tokens", json=asked, headers=KEY)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"token", "session_id", "expires_at"}
    assert answer.json()["session_id"] == asked["session_id"]
    return str(answer.json()["token"])


def ask(running: Any, token: str, path: str = V1, origin: str | None = SHOP, **page: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} | ({"origin": origin} if origin else {})
    return httpx.post(running.http + path, json={"instances": [{"query": "drill", **page}]}, headers=headers)


def test_a_browser_asks_for_pages_with_a_token_and_from_its_origin_only(keyed: Any) -> None:
    token = issue(keyed)
    answer = ask(keyed, token)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "right-key" not in token
    assert [ask(keyed, token, origin=origin).status_code for origin in (OTHER, None)] == [403, 403]


def test_a_token_reads_pages_and_nothing_else(keyed: Any) -> None:
    token = issue(keyed)
    assert ask(keyed, token, "/v1/models/fairtag:explain").status_code == 200
    for path in ("/v1/quotes:verify", "/v1/browser-tokens", "/v1/models/fairtag:verify", "/v2/repository/index"):
        assert ask(keyed, token, path).status_code == 403, path


def test_who_somebody_is_only_the_shop_says(keyed: Any) -> None:
    guest, hunter = issue(keyed), issue(keyed, user_id="hunter", jurisdiction="DE", opted_out=False)
    assert ask(keyed, guest, user_id="hunter").status_code == 403, "a guest cannot become a customer"
    assert ask(keyed, hunter, user_id="somebody-else").status_code == 403
    assert ask(keyed, hunter, jurisdiction="US").status_code == 403
    assert ask(keyed, hunter, opted_out=True).status_code == 403
    assert ask(keyed, hunter, user_id="hunter", jurisdiction="DE").status_code == 200
    (page,) = ask(keyed, hunter).json()["predictions"]
    assert page["personalised"], "the page is the customer's, though the browser named nobody"
    tensor = {"name": "user_id", "shape": [1], "datatype": "BYTES", "data": ["hunter"]}
    query = {"name": "query", "shape": [1], "datatype": "BYTES", "data": ["drill"]}
    headers = {"authorization": f"Bearer {guest}", "origin": SHOP}
    assert httpx.post(keyed.http + V2, json={"inputs": [query, tensor]}, headers=headers).status_code == 403


def test_a_guests_prices_stay_with_the_session_of_the_token(keyed: Any) -> None:
    """The endpoint hands out the session with the first token; the next token for it goes on with its prices."""
    url, asked = f"{keyed.http}/v1/browser-tokens", {"origin": SHOP}
    first, other = (httpx.post(url, json=asked, headers=KEY).json() for _ in range(2))
    second = httpx.post(url, json={**asked, "session_id": first["session_id"]}, headers=KEY).json()
    assert second["session_id"] == first["session_id"] != other["session_id"]
    pages = [ask(keyed, token["token"]).json()["predictions"][0] for token in (first, second)]
    assert [page["session_id"] for page in pages] == [first["session_id"]] * 2, "the page is of the token's session"
    own = {"instances": [{"query": "drill", "session_id": first["session_id"]}]}
    (page,) = httpx.post(keyed.http + V1, json=own, headers=KEY).json()["predictions"]
    assert page["items"] == pages[0]["items"], "the shop's server sees the guest's prices too"
    visitor = keyed.assembly.endpoint.pseudonyms.visitor(PageRequest(query="x", session_id=first["session_id"]))
    assert visitor.trust is Trust.SESSION, "when stores are full, invented sessions make room first"
    locked = [keyed.assembly.locks.known_here(f"fairtag:lock:EUR:{pages[0]['epoch']}:{name}") for name in visitor.names]
    assert locked[0], "the first page locked its prices under the token's session"


def test_tokens_are_issued_to_the_key_alone(keyed: Any) -> None:
    url, asked = f"{keyed.http}/v1/browser-tokens", {"session_id": "s-1", "origin": SHOP}
    assert httpx.post(url, json=asked).status_code == 401
    assert httpx.post(url, json={**asked, "origin": OTHER}, headers=KEY).status_code == 400
    assert httpx.post(url, json={**asked, "seconds": 10_000}, headers=KEY).status_code == 400
    assert httpx.post(url, json={**asked, "session_id": ""}, headers=KEY).status_code == 400
    assert httpx.post(url, json={**asked, "admin": True}, headers=KEY).status_code == 400
    assert httpx.post(url, json=[], headers=KEY).status_code == 400


def test_an_endpoint_without_keys_issues_none(serve: Callable[..., Any]) -> None:
    with serve(allowed_origins=(SHOP,)) as running:
        answer = httpx.post(f"{running.http}/v1/browser-tokens", json={"session_id": "s-1", "origin": SHOP})
    assert answer.status_code == 403
    assert "FAIRTAG_API_KEYS_FILE" in answer.json()["rule"]


def test_forged_tokens_are_wrong_keys(keyed: Any) -> None:
    token = issue(keyed)
    claims = {"aud": "fairtag-browser", "sub": "s", "iat": 0, "exp": 2**33, "ori": SHOP, "fix": {}}
    quote_key = bytes(range(32))  # the key that signs quotes is not the key that signs tokens
    forged = [
        jwt.encode(claims, quote_key, "HS256", headers={"kid": "k1"}),
        jwt.encode(claims, None, "none", headers={"kid": "k1"}),
        "eyJhbGciOiJIUzI1NiIsImtpZCI6WyJrMSJdfQ.e30.AA",  # its key id is a list
    ]
    assert [ask(keyed, each).status_code for each in forged] == [401, 401, 401]
    assert ask(keyed, forged[0]).status_code == 429
    assert ask(keyed, token).status_code == 200
    assert ask(keyed, issue(keyed)).status_code == 200, "who has a key or a token goes on"


def test_a_quote_is_no_token_and_a_token_no_quote(keyed: Any) -> None:
    with httpx.Client(base_url=keyed.http, headers=KEY) as client:
        page = client.post(V1, json={"instances": [{"query": "drill"}]}).json()["predictions"][0]
        asked = {"quote": issue(keyed), "item_id": page["items"][0]["item_id"]}
        assert client.post("/v1/quotes:verify", json=asked).json()["code"] == "QuoteTampered"
    assert ask(keyed, page["quote"]).status_code == 401


def test_a_token_expires_and_outlives_a_rotation_of_keys() -> None:
    now, keys = [1_000.0], [KEYS]
    tokens = BrowserTokens(lambda: keys[0], (SHOP,), 900, lambda: "new", clock=lambda: now[0])
    token = tokens.issue(TokenRequest(session_id="s-1", origin=SHOP, seconds=60))["token"]
    keys[0] = QuoteKeys("k2", {"k2": bytes(32), "k1": bytes(32)})
    assert tokens.read(token, SHOP) == BrowserToken("s-1", {"session_id": "s-1"})
    keys[0] = QuoteKeys("k2", {"k2": bytes(32)})
    assert tokens.read(token, SHOP) is None
    keys[0], now[0] = KEYS, 1_060.0
    with pytest.raises(RequestError, match="expired") as caught:
        tokens.read(token, SHOP)
    assert caught.value.status == 401


def test_a_page_gets_what_the_token_fixes() -> None:
    token = BrowserToken("s-1", {"session_id": "s-1", "user_id": "u", "jurisdiction": "DE"})
    bound = token.bind(PageRequest(query="drill"), "instances[0]")
    assert (bound.session_id, bound.user_id, bound.jurisdiction) == ("s-1", "u", "DE")
    with pytest.raises(RequestError, match=r"instances\[0\].user_id"):
        token.bind(PageRequest(query="drill", user_id="v"), "instances[0]")


def test_other_origins_are_not_answered_and_errors_can_be_read(keyed: Any) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    allowed = httpx.options(keyed.http + V1, headers={"origin": SHOP, **asked})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == SHOP
    refused = httpx.options(keyed.http + V1, headers={"origin": OTHER, **asked})
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    denied = httpx.post(keyed.http + V1, json={}, headers={"origin": SHOP})
    assert denied.status_code == 401
    assert denied.headers["access-control-allow-origin"] == SHOP


def test_without_origins_no_browser_is_told_anything(serve: Callable[..., Any]) -> None:
    with serve() as running:
        answer = httpx.post(running.http + V1, json={"instances": [{"query": "x"}]}, headers={"origin": SHOP})
    assert not [name for name in answer.headers if name.startswith("access-control")]
