"""The keys of the steps that make and move decisions, from their environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from fairtag.model import signature
from fairtag.model.signature import TrustedKeys
from fairtag.policy.live_policy import Sign, Verify


class SigningSettings(BaseSettings):
    """The key pair that signs decisions, in PEM; docs/how-to/keys.md says how to make one."""

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_", frozen=True)

    signing_key: str | None = Field(default=None, description="Ed25519 private key that signs decisions.", repr=False)
    signing_key_file: Path | None = Field(default=None, description="The same key, in a file.")
    trusted_keys: str | None = Field(default=None, description="Public keys of which one must have signed a decision.")
    trusted_keys_file: Path | None = Field(default=None, description="The same keys, in a file.")
    policy_signing_key: str | None = Field(
        default=None, description="Ed25519 private key that signs versions of the live policy.", repr=False
    )
    policy_signing_key_file: Path | None = Field(default=None, description="The same key, in a file.")
    policy_keys: str | None = Field(
        default=None, description="Public keys of which one must have signed a version of the live policy."
    )
    policy_keys_file: Path | None = Field(default=None, description="The same keys, in a file.")


def signed(decision: Mapping[str, Any]) -> dict[str, Any]:
    """The decision, signed where the environment has a signing key.

    Raises:
        ConfigError: The key cannot be read.
    """
    settings = SigningSettings()
    pem = signature.pem_of(settings.signing_key, settings.signing_key_file, "FAIRTAG_SIGNING_KEY")
    return dict(decision) if pem is None else signature.sign(decision, signature.signing_key(*pem))


def trusted_keys() -> TrustedKeys | None:
    """The keys whose signatures count; None where the environment has none.

    Raises:
        ConfigError: The keys cannot be read.
    """
    settings = SigningSettings()
    pem = signature.pem_of(settings.trusted_keys, settings.trusted_keys_file, "FAIRTAG_TRUSTED_KEYS")
    return None if pem is None else signature.trusted_keys(*pem)


def policy_signer() -> Sign | None:
    """Signs versions of the live policy; None where the environment has no key for it.

    Raises:
        ConfigError: The key cannot be read.
    """
    settings = SigningSettings()
    pem = signature.pem_of(settings.policy_signing_key, settings.policy_signing_key_file, "FAIRTAG_POLICY_SIGNING_KEY")
    return None if pem is None else signature.policy_signer(signature.signing_key(*pem))


def policy_verifier() -> Verify | None:
    """Checks the signatures of the live policy; None where the environment has no key for it.

    Raises:
        ConfigError: The keys cannot be read.
    """
    settings = SigningSettings()
    pem = signature.pem_of(settings.policy_keys, settings.policy_keys_file, "FAIRTAG_POLICY_KEYS")
    return None if pem is None else signature.policy_verifier(signature.trusted_keys(*pem))
