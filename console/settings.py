"""The console's settings, read once from the environment into a frozen object."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class ConsoleSettings(BaseSettings):
    """Where the console listens, which endpoint it asks, and which folders of a run it reads."""

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_CONSOLE_", frozen=True)

    url: str = Field(default="http://127.0.0.1:8080", description="Address of the endpoint.")
    model_name: str = Field(default="fairtag", pattern=r"^[A-Za-z0-9._-]{1,63}$", description="Model that it serves.")
    key_file: Path | None = Field(default=None, description="File with the endpoint's bearer key.")
    timeout_seconds: float = Field(default=10.0, gt=0, description="Longest wait for the endpoint.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8090, ge=0, le=65_535, description="Port to listen on.")
    model_folder: Path | None = Field(default=None, description="The live model, for what-if and the table of prices.")
    tables: Path | None = Field(default=None, description="Folder of the shop's tables: customers, history of items.")
    quotes: str | None = Field(default=None, description="fsspec URL of the quote log.")
    outcomes: str | None = Field(default=None, description="fsspec URL that purchases are written to.")
    reports: Path | None = Field(default=None, description="Folder of the monitoring jobs' reports.")
    ledger: Path | None = Field(default=None, description="Folder of the trigger's ledger.")
    decision: Path | None = Field(default=None, description="DECISION.json of the newest evaluation.")
    training_set: Path | None = Field(
        default=None, description="Parquet file of the training set, whose held-out pages a policy is previewed on."
    )
    policy_store: str | None = Field(
        default=None, description="Where the live policy lies, as the endpoint's `FAIRTAG_POLICY_STORE`."
    )
    policy_signing_key_file: Path | None = Field(
        default=None, description="Ed25519 private key (PEM) that signs versions of the live policy."
    )
    policy_keys_file: Path | None = Field(
        default=None, description="Public keys (PEM) of which one must have signed each version."
    )
    place: str = Field(default="", description="Where customers are at first (ISO 3166); the storefront can change it.")
    state_dir: Path = Field(default=Path("console"), description="Folder of the audit log.")
    users_file: Path | None = Field(
        default=None,
        description="Users with their roles and hashed tokens. On any address but the loopback it or OpenID Connect is "
        "needed; with both, people may sign in either way.",
    )
    public_url: str | None = Field(
        default=None,
        description="Address that browsers reach the console by, such as `https://prices.example.com`. OpenID Connect "
        "sends them back there.",
    )
    oidc_issuer: str | None = Field(default=None, description="Issuer of the identity provider; OpenID Connect is on.")
    oidc_client_id: str | None = Field(default=None, description="The console's client id there.")
    oidc_client_secret_file: Path | None = Field(default=None, description="File with the client's secret.")
    oidc_scopes: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("openid", "email", "profile"), description="What the provider is asked for, with commas."
    )
    oidc_name_claim: str = Field(
        default="email",
        min_length=1,
        description="Claim that names a person in audit log and policy history. It must belong to one person, who "
        "cannot change it: `sub` always does.",
    )
    oidc_role_claim: str = Field(
        default="roles",
        min_length=1,
        description="Claim with somebody's roles or groups; a dot leads into an object: `realm_access.roles`.",
    )
    oidc_roles: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Values of that claim and what they make of somebody, with commas: "
        "`pricing-leads=approver,pricing=merchandiser`. By default each role goes by its own name. Of several the "
        "highest counts; who has none is refused.",
    )
    session_minutes: int = Field(default=30, ge=1, description="A session ends after so long without a request.")
    session_hours: int = Field(default=12, ge=1, description="A session ends after so long in any case.")
    sessions: int = Field(default=1_000, ge=1, description="Sessions kept; then the one unused for longest ends.")
    hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Host names that browsers reach the console by, with commas; any other is refused."
    )
    secure_cookies: bool | None = Field(
        default=None,
        description="Send the session's cookie over HTTPS alone. By default on every address but the loopback.",
    )

    @field_validator("hosts", "oidc_scopes", "oidc_roles", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the console."""
        return is_loopback(self.host)

    @property
    def signs_in(self) -> bool:
        """Whether people sign in."""
        return self.users_file is not None or self.oidc_issuer is not None

    @property
    def cookies_over_https(self) -> bool:
        """Whether browsers send the session's cookie over HTTPS alone."""
        return not self.loopback if self.secure_cookies is None else self.secure_cookies


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("prices.example.com")
    (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def settings_table() -> str:
    """All settings as a table of docs/console.md."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in ConsoleSettings.model_fields.items():
        value = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        default = "" if value in (None, "") else f"`{str(value).lower()}`"
        lines.append(f"| `FAIRTAG_CONSOLE_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)
