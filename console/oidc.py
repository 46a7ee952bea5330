"""Sign-in with OpenID Connect: the shop's identity provider says who somebody is, and which role is theirs.

Authorization code flow with PKCE, state and nonce (OpenID Connect Core 1.0, section 3.1; RFC 9700). Authlib speaks the
protocol and checks the ID token; what it leaves to its user is checked here: that the discovery document is of the
issuer that was asked, that signatures come with a public key, and that the token is for this console alone.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError

from console.sessions import Flow
from console.settings import ConsoleSettings, is_loopback
from console.users import Denied, Role, User
from fairtag.base.errors import ConfigError, UnavailableError

CALLBACK = "/login/callback"
# Signatures that a public key proves. "none" proves nothing, and HS256 only that somebody knows the client's secret.
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
LEEWAY = 60  # seconds that two clocks may differ by
FLOW_SECONDS = 600.0  # somebody who takes longer to sign in begins again
MOST_FLOWS = 5  # of one browser: so many of its tabs may be signing in at once
LONGEST_NAME = 128


@dataclass(frozen=True)
class OidcSettings:
    """How the identity provider knows this console, and how its claims become roles.

    Args:
        issuer: Issuer identifier, as the provider's discovery document and its tokens name it.
        client_id: Of this console.
        client_secret: Likewise.
        public_url: Address that browsers reach the console by, without a path.
        scopes: What is asked for, ``openid`` among it.
        name_claim: Claim that names a person in the audit log and in the policy's history.
        role_claim: Claim with the roles or groups; a dot leads into an object (``realm_access.roles``).
        roles: Value of that claim -> role here.
        timeout: Longest wait for the provider, seconds.
    """

    issuer: str
    client_id: str
    client_secret: str
    public_url: str
    scopes: tuple[str, ...]
    name_claim: str
    role_claim: str
    roles: Mapping[str, Role]
    timeout: float


@dataclass(frozen=True)
class Identity:
    """Who came back from the identity provider.

    Args:
        user: Name and role.
        subject: The provider's own id of them, which never changes hands.
        id_token: As it came; the provider asks for it when they sign out.
        next: Where in the console they wanted to go.
    """

    user: User
    subject: str
    id_token: str
    next: str


def oidc_settings(settings: ConsoleSettings) -> OidcSettings | None:
    """The settings of the identity provider; None where none is named.

    Raises:
        ConfigError: Only some of them are given, or one is not what it must be.
    """
    needed = {
        "OIDC_ISSUER": settings.oidc_issuer,
        "OIDC_CLIENT_ID": settings.oidc_client_id,
        "OIDC_CLIENT_SECRET_FILE": settings.oidc_client_secret_file,
        "PUBLIC_URL": settings.public_url,
    }
    wanted = any(value for name, value in needed.items() if name.startswith("OIDC_")) or settings.oidc_roles
    if not wanted:
        return None
    if missing := [f"FAIRTAG_CONSOLE_{name}" for name, value in needed.items() if not value]:
        raise ConfigError(
            f"OpenID Connect is half configured: set {', '.join(missing)} as well, or none of the OIDC settings; see "
            "docs/console.md"
        )
    issuer, public_url = str(settings.oidc_issuer).rstrip("/"), str(settings.public_url).rstrip("/")
    for name, address in (("OIDC_ISSUER", issuer), ("PUBLIC_URL", public_url)):
        _require_safe(address, f"FAIRTAG_CONSOLE_{name}")
    if urlsplit(public_url).path:
        raise ConfigError(f"FAIRTAG_CONSOLE_PUBLIC_URL: {public_url} is refused; it must be an address without a path")
    scopes = tuple(settings.oidc_scopes)
    if "openid" not in scopes:
        raise ConfigError(f"FAIRTAG_CONSOLE_OIDC_SCOPES: {' '.join(scopes)} is refused; openid must be among them")
    return OidcSettings(
        issuer,
        str(settings.oidc_client_id),
        _secret(Path(str(settings.oidc_client_secret_file))),
        public_url,
        scopes,
        settings.oidc_name_claim,
        settings.oidc_role_claim,
        _roles(settings.oidc_roles),
        settings.timeout_seconds,
    )


class Provider:
    """The identity provider.

    Args:
        settings: How it knows this console.
    """

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._client = OAuth().register(
            "provider",
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            server_metadata_url=f"{settings.issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": " ".join(settings.scopes),
                "code_challenge_method": "S256",
                "timeout": settings.timeout,
                "leeway": 0,  # of the access token, which is used at once: some providers let it live for a minute
            },
        )

    @property
    def name(self) -> str:
        """The provider as a person knows it: its host."""
        return urlsplit(self._settings.issuer).netloc

    async def begin(self, flows: dict[str, Flow], to: str) -> str:
        """Where to send a browser that wants to sign in.

        Args:
            flows: Sign-ins of this browser that have begun, by state; one is added.
            to: Where in the console it wanted to go.

        Raises:
            UnavailableError: The provider does not answer, or not with a discovery document.
        """
        await self._metadata()
        made = await self._client.create_authorization_url(self._settings.public_url + CALLBACK)
        flows[made["state"]] = Flow(made["nonce"], made["code_verifier"], to, time.monotonic())
        while len(flows) > MOST_FLOWS:
            del flows[next(iter(flows))]
        return str(made["url"])

    async def finish(self, flows: dict[str, Flow], answer: Mapping[str, str]) -> Identity:
        """Who came back.

        Args:
            flows: Sign-ins of this browser that have begun; the one that the answer is of is taken out.
            answer: Parameters that the browser brought from the provider.

        Raises:
            Denied: The answer is of no sign-in of this browser, the provider refuses, its token does not hold, or no
                role is theirs.
            UnavailableError: The provider does not answer.
        """
        flow = flows.pop(answer.get("state", ""), None)
        if flow is None or time.monotonic() - flow.started > FLOW_SECONDS:
            raise Denied("this sign-in was not begun in this browser, or longer than 10 minutes ago; sign in again")
        if answer.get("iss", self._settings.issuer).rstrip("/") != self._settings.issuer:  # RFC 9207
            raise Denied(f"the answer is not from {self.name}; sign in again")
        if "error" in answer:
            said = answer.get("error_description") or answer["error"]
            raise Denied(f"{self.name} did not sign you in: {said[:200].rstrip('.')}")
        token, claims = await self._exchange(flow, answer.get("code", ""))
        name = self._name(claims)
        return Identity(User(name, self._role(claims, name)), str(claims["sub"]), str(token["id_token"]), flow.next)

    async def sign_out_address(self, id_token: str) -> str | None:
        """Where the provider ends its own session (OpenID Connect RP-Initiated Logout 1.0); None where it cannot."""
        try:
            if not (await self._metadata()).get("end_session_endpoint"):
                return None
        except UnavailableError:
            return None
        made = await self._client.create_logout_url(
            f"{self._settings.public_url}/login",
            id_token,
            state=secrets.token_urlsafe(),
            client_id=self._settings.client_id,
        )
        return str(made["url"])

    async def _metadata(self) -> dict[str, Any]:
        """The discovery document, read once; Authlib is given only the algorithms that are allowed here.

        Raises:
            UnavailableError: The provider does not answer, or not with a discovery document of this issuer.
        """
        try:
            found: dict[str, Any] = await self._client.load_server_metadata()
            issuer = str(found.get("issuer", "")).rstrip("/")
            if issuer != self._settings.issuer:
                raise ConfigError(f"its discovery document is of issuer {issuer or 'none'}")
            optional = [name for name in ("userinfo_endpoint", "end_session_endpoint") if found.get(name)]
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", *optional):
                _require_safe(str(found.get(name, "")), name)
        except (httpx2.HTTPError, ValueError, AttributeError) as error:  # ValueError: no JSON, or a rule of ours
            self._client.server_metadata.clear()  # read it again next time
            reason = str(error) if isinstance(error, ConfigError) else type(error).__name__
            raise UnavailableError(
                f"the identity provider {self._settings.issuer} cannot be used ({reason}); see "
                "FAIRTAG_CONSOLE_OIDC_ISSUER, or sign in with a token where this console has a file of users"
            ) from error
        offered = found.get("id_token_signing_alg_values_supported") or ["RS256"]
        found["id_token_signing_alg_values_supported"] = sorted(ALGORITHMS & set(offered)) or ["RS256"]
        methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        found["token_endpoint_auth_method"] = next(
            (name for name in ("client_secret_basic", "client_secret_post") if name in methods), "client_secret_basic"
        )
        return found

    async def _exchange(self, flow: Flow, code: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The token of a code and its claims, all of which hold."""
        metadata = await self._metadata()
        must = {
            "iss": {"essential": True, "value": metadata["issuer"]},
            "aud": {"essential": True, "value": self._settings.client_id},
        }
        try:
            token = await self._client.fetch_access_token(
                redirect_uri=self._settings.public_url + CALLBACK, code=code, code_verifier=flow.code_verifier
            )
            if "id_token" not in token:
                raise Denied(f"{self.name} sent no ID token; this client may lack the scope openid")
            claims = dict(
                await self._client.parse_id_token(token, nonce=flow.nonce, claims_options=must, leeway=LEEWAY)
            )
            return token, await self._with_userinfo(token, claims, metadata)
        except httpx2.HTTPError as error:
            raise UnavailableError(f"{self.name} does not answer ({type(error).__name__}); sign in again") from error
        except (OAuthError, JoseError, ValueError) as error:
            said = str(error) or type(error).__name__
            raise Denied(f"the answer of {self.name} does not hold ({said}); sign in again") from error

    async def _with_userinfo(
        self, token: dict[str, Any], claims: dict[str, Any], metadata: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The claims with those that the provider only tells at its userinfo endpoint."""
        asked = (self._settings.name_claim, self._settings.role_claim)
        if all(_claim(claims, name) is not None for name in asked) or not metadata.get("userinfo_endpoint"):
            return claims
        more = dict(await self._client.userinfo(token=token))
        if more.get("sub") != claims["sub"]:  # OpenID Connect Core 1.0, section 5.3.2
            raise Denied(f"{self.name} spoke of another person at its userinfo endpoint; sign in again")
        return more | claims

    def _name(self, claims: Mapping[str, Any]) -> str:
        name = _claim(claims, self._settings.name_claim)
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            raise Denied(
                f"{self.name} did not say who you are: its claim {self._settings.name_claim} is missing or not a name "
                "(FAIRTAG_CONSOLE_OIDC_NAME_CLAIM)"
            )
        if self._settings.name_claim == "email" and claims.get("email_verified") is False:
            raise Denied(f"{self.name} has not verified the address {name}; verify it there and sign in again")
        return name.strip()

    def _role(self, claims: Mapping[str, Any], name: str) -> Role:
        found = _claim(claims, self._settings.role_claim)
        values = [str(value) for value in found] if isinstance(found, list) else str(found or "").split()
        roles = [self._settings.roles[value] for value in values if value in self._settings.roles]
        if not roles:
            said = ", ".join(values[:10]) or "nothing"
            raise Denied(
                f"{self.name} knows you as {name}, but gives you no role of the console: its claim "
                f"{self._settings.role_claim} says {said[:200]}, where {' or '.join(self._settings.roles)} lets you "
                "in. Ask whoever administers it"
            )
        return max(roles)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by the path to it; names with dots, such as addresses, come first.

    >>> _claim({"realm_access": {"roles": ["a"]}}, "realm_access.roles"), _claim({"https://x/roles": 1}, "https://x/roles")
    (['a'], 1)
    """
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _roles(pairs: tuple[str, ...]) -> dict[str, Role]:
    """Values of the role claim with their roles; by default each role goes by its own name."""
    if not pairs:
        return {role.word: role for role in Role}
    found: dict[str, Role] = {}
    for pair in pairs:
        value, equals, role = pair.rpartition("=")
        if not equals or not value.strip() or role.strip().upper() not in Role.__members__:
            raise ConfigError(
                f"FAIRTAG_CONSOLE_OIDC_ROLES: {pair!r} is refused; write VALUE=ROLE with a role of "
                f"{', '.join(each.word for each in Role)}, such as pricing-leads=approver"
            )
        found[value.strip()] = Role[role.strip().upper()]
    return found


def _secret(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"FAIRTAG_CONSOLE_OIDC_CLIENT_SECRET_FILE: {path} cannot be read ({type(error).__name__})"
        ) from error
    if not secret:
        raise ConfigError(f"FAIRTAG_CONSOLE_OIDC_CLIENT_SECRET_FILE: {path} is empty; put the client's secret into it")
    return secret


def _require_safe(address: str, name: str) -> None:
    """Refuse an address that others could listen to.

    Raises:
        ConfigError: It is neither https nor on the loopback.
    """
    parts = urlsplit(address)
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise ConfigError(f"{name}: {address!r} is refused; it must be an address such as https://login.example.com")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(f"{name}: {address} is refused; it must begin with https://")
