"""The keys of the steps that make and move decisions, from their environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from fairtag.model.signature import TrustedKeys, read_signing_key, read_trusted_keys, sign


class SigningSettings(BaseSettings):
    """Files of the key pair that signs decisions; docs/how-to/keys.md says how to make one."""

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_", frozen=True)

    signing_key_file: Path | None = Field(
        default=None, description="PEM file of the Ed25519 private key that signs decisions; without it none is signed."
    )
    trusted_keys_file: Path | None = Field(
        default=None,
        description="PEM file of the Ed25519 public keys of which one must have signed a decision; "
        "without it no signature is asked for.",
    )


def signed(decision: Mapping[str, Any]) -> dict[str, Any]:
    """The decision, signed where the environment names a signing key.

    Raises:
        ConfigError: The key cannot be read.
    """
    path = SigningSettings().signing_key_file
    return dict(decision) if path is None else sign(decision, read_signing_key(path))


def trusted_keys() -> TrustedKeys | None:
    """The keys whose signatures count; None where the environment names none.

    Raises:
        ConfigError: The keys cannot be read.
    """
    path = SigningSettings().trusted_keys_file
    return None if path is None else read_trusted_keys(path)
