"""Ed25519 signatures of decisions: who evaluated the model, beside what the evaluation said.

A decision names the digest of its model folder, and the digest covers every file. One signature over the decision's
hash therefore vouches for the model, too. The key pair is made with OpenSSL (docs/how-to/keys.md)::

    signed = sign(decision, read_signing_key(Path("signing.pem")))
    require_signature(signed, read_trusted_keys(Path("trusted.pem")))
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fairtag.base.errors import ConfigError, DecisionMismatch
from fairtag.base.files import sha256_bytes

SIGNATURE = "signature"
CONTEXT = b"fairtag.decision\n"  # a signature of a decision is none of anything else
PUBLIC_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
TrustedKeys = Mapping[str, Ed25519PublicKey]


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the private key that signs decisions, PEM (PKCS 8) without a passphrase.

    Raises:
        ConfigError: The file cannot be read or holds no Ed25519 private key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: no readable private key ({type(error).__name__}); {_HOW_TO_MAKE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: a {type(key).__name__}, not an Ed25519 private key; {_HOW_TO_MAKE}")
    return key


def read_trusted_keys(path: Path) -> TrustedKeys:
    """Read the public keys whose signatures count, one PEM block after another, by their id.

    While a signing key is replaced, the file holds the old one and the new one.

    Raises:
        ConfigError: The file cannot be read, or holds anything but Ed25519 public keys.
    """
    try:
        blocks = PUBLIC_PEM.findall(path.read_bytes())
        keys = [load_pem_public_key(block) for block in blocks]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no readable public keys ({type(error).__name__}); {_HOW_TO_MAKE}") from error
    if not keys:
        raise ConfigError(f"{path}: holds no public key in PEM, so that no decision could be trusted; {_HOW_TO_MAKE}")
    trusted = {key_id(key): key for key in keys if isinstance(key, Ed25519PublicKey)}
    if len(trusted) < len(keys):
        raise ConfigError(f"{path}: holds a key twice, or one that is not an Ed25519 public key; {_HOW_TO_MAKE}")
    return trusted


def key_id(key: Ed25519PublicKey) -> str:
    """The first sixteen hex digits of the SHA-256 of the raw public key."""
    return sha256_bytes(key.public_bytes(Encoding.Raw, PublicFormat.Raw))[:16]


def sign(decision: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """The decision with a signature over its hash, in place of any earlier one.

    Args:
        decision: A decision document with its ``hash``.
        key: The signing key.
    """
    value = base64.b64encode(key.sign(_message(decision))).decode()
    return {**decision, SIGNATURE: {"key": key_id(key.public_key()), "ed25519": value}}


def require_signature(decision: Mapping[str, Any], trusted: TrustedKeys) -> None:
    """Raise unless one of the trusted keys signed this decision. The hash is checked by the caller.

    Raises:
        DecisionMismatch: The decision is unsigned, signed by another key, or its signature is wrong.
    """
    names = ", ".join(sorted(trusted))
    block = decision.get(SIGNATURE)
    if not isinstance(block, Mapping):
        raise DecisionMismatch(
            f"the decision is not signed; only decisions signed by {names} are trusted. Evaluate the model again "
            "with FAIRTAG_SIGNING_KEY_FILE set"
        )
    key = trusted.get(str(block.get("key")))
    if key is None:
        raise DecisionMismatch(
            f"the decision is signed by key {block.get('key')!r}, which is not trusted ({names} are)"
        )
    try:
        key.verify(base64.b64decode(str(block.get("ed25519")), validate=True), _message(decision))
    except (InvalidSignature, ValueError) as error:
        raise DecisionMismatch(
            f"the decision's signature by key {block['key']} is wrong; the document was altered after the evaluation"
        ) from error


def _message(decision: Mapping[str, Any]) -> bytes:
    return CONTEXT + str(decision["hash"]).encode()


_HOW_TO_MAKE = "docs/how-to/keys.md says how to make a key pair"
