"""A small identity provider (OpenID Connect Core 1.0, code flow with PKCE) with real keys, on a port of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from joserfc.jws import JWSRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "fairtag-console", "a client's secret & more"
FIRST_KEY = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})


@dataclass
class Provider:
    """What it answers, which a test may bend.

    Args:
        issuer: Its address.
        redirect_uri: The only one that it sends anybody to.
        claims: Of the person who is signed in there, over those of every ID token.
        header: Of the ID token, over its own.
        key: Signs instead of its own.
        userinfo: Claims that only the userinfo endpoint tells; None where there is no such endpoint.
        metadata: Of the discovery document, over its own; None takes a name away.
        refuse: What the authorization endpoint answers instead of a code.
        without_id_token: The token endpoint forgets the ID token.
        asked: Parameters of each request for a code.
        ended: Parameters of each sign-out.
    """

    issuer: str
    redirect_uri: str
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    key: Any = None
    userinfo: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    refuse: dict[str, str] | None = None
    without_id_token: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    ended: list[dict[str, str]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: list[Any] = field(default_factory=lambda: [FIRST_KEY])

    def discovery(self, _: Request) -> Response:
        own = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/end",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],  # as many providers say
        }
        if self.userinfo is not None:
            own["userinfo_endpoint"] = f"{self.issuer}/userinfo"
        return JSONResponse({name: value for name, value in {**own, **self.metadata}.items() if value is not None})

    def authorize(self, request: Request) -> Response:
        given = dict(request.query_params)
        self.asked.append(given)
        well = given["client_id"] == CLIENT and given["redirect_uri"] == self.redirect_uri
        if not well or given["response_type"] != "code" or given["code_challenge_method"] != "S256":
            return PlainTextResponse("no request of a client of mine", 400)
        answer = self.refuse
        if answer is None:
            code = secrets.token_urlsafe()
            self.codes[code] = given
            answer = {"code": code}
        return RedirectResponse(f"{self.redirect_uri}?{urlencode({**answer, 'state': given['state']})}")

    async def token(self, request: Request) -> Response:
        body = dict(line.split("=", 1) for line in (await request.body()).decode().split("&"))
        kind, _, credentials = request.headers.get("authorization", "").partition(" ")
        if kind != "Basic" or base64.b64decode(credentials).decode() != f"{CLIENT}:{SECRET}":
            return JSONResponse({"error": "invalid_client"}, 401)
        asked = self.codes.pop(body["code"], None)  # a code counts once
        digest = hashlib.sha256(body.get("code_verifier", "").encode()).digest()
        if asked is None or base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        found = {"access_token": "an access token", "token_type": "Bearer", "expires_in": 60}
        return JSONResponse(found if self.without_id_token else {**found, "id_token": self.id_token(asked["nonce"])})

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "248289761001",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
        }
        claims |= {"email": "ada@example.com", "email_verified": True, "roles": ["viewer"], **self.claims}
        key = self.key or self.keys[-1]
        header = {"alg": "RS256", "kid": key.kid, **self.header}
        given = {name: value for name, value in claims.items() if value is not None}
        if header["alg"] == "none":  # joserfc would warn of it
            parts = [json.dumps(part).encode() for part in ({"alg": "none"}, given)]
            return "".join(base64.urlsafe_b64encode(part).decode().rstrip("=") + "." for part in parts)
        registry = JWSRegistry(algorithms=[header["alg"]])
        return jwt.encode({name: value for name, value in header.items() if value}, given, key, registry=registry)

    def jwks(self, _: Request) -> Response:
        foreign = {"kty": "AKP", "kid": "of tomorrow", "alg": "ML-DSA-44", "pub": "AAAA"}
        own = KeySet(self.keys).as_dict(private=False)["keys"]
        return JSONResponse({"keys": [foreign, *own]})

    def tell(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer an access token"
        return JSONResponse({"sub": "248289761001", **(self.userinfo or {})})

    def end(self, request: Request) -> Response:
        given = dict(request.query_params)
        self.ended.append(given)
        return RedirectResponse(f"{given['post_logout_redirect_uri']}?{urlencode({'state': given['state']})}")

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.discovery),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
                Route("/keys", self.jwks),
                Route("/userinfo", self.tell),
                Route("/end", self.end),
            ]
        )


def shared_secret_key() -> OctKey:
    """A key of the client's secret, for the forgery that signs with what everybody at the client knows."""
    return OctKey.import_key(SECRET, {"kid": "first"})


def another_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "first"})


def elliptic_key() -> ECKey:
    return ECKey.generate_key("P-256", {"kid": "second"})


@contextmanager
def provider(public_url: str, host: str = "127.0.0.1") -> Iterator[Provider]:
    """A running provider that knows the console at an address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Provider(f"http://{host}:{port}", f"{public_url}/login/callback")
    server = uvicorn.Server(uvicorn.Config(found.app(), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield found
    finally:
        server.should_exit = True
        thread.join()
