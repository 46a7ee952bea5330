"""Ed25519 signatures of decisions: who evaluated the model, beside what the evaluation said.

A decision names the digest of its model folder, and the digest covers every file. One signature over the decision's
hash therefore vouches for the model, too. The key pair is made with OpenSSL (docs/how-to/keys.md)::

    signed = sign(decision, signing_key(Path("signing.pem").read_bytes(), "signing.pem"))
    require_signature(signed, trusted_keys(Path("trusted.pem").read_bytes(), "trusted.pem"))
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
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
POLICY_CONTEXT = b"fairtag.live-policy\n"
PUBLIC_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
TrustedKeys = Mapping[str, Ed25519PublicKey]


def signing_key(content: bytes, source: str) -> Ed25519PrivateKey:
    """The private key that signs decisions, from PEM (PKCS 8) without a passphrase.

    Args:
        content: The PEM text.
        source: Where it is from, for messages.

    Raises:
        ConfigError: There is no Ed25519 private key.
    """
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source}: no readable private key ({type(error).__name__}); {_HOW_TO_MAKE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{source}: a {type(key).__name__}, not an Ed25519 private key; {_HOW_TO_MAKE}")
    return key


def trusted_keys(content: bytes, source: str) -> TrustedKeys:
    """The public keys whose signatures count, one PEM block after another, by their id.

    While a signing key is replaced, they are the old one and the new one.

    Raises:
        ConfigError: There are none, or anything but Ed25519 public keys.
    """
    try:
        keys = [load_pem_public_key(block) for block in PUBLIC_PEM.findall(content)]
    except ValueError as error:
        raise ConfigError(f"{source}: no readable public keys ({type(error).__name__}); {_HOW_TO_MAKE}") from error
    if not keys:
        raise ConfigError(f"{source}: holds no public key in PEM, so that no decision could be trusted; {_HOW_TO_MAKE}")
    trusted = {key_id(key): key for key in keys if isinstance(key, Ed25519PublicKey)}
    if len(trusted) < len(keys):
        raise ConfigError(f"{source}: holds a key twice, or one that is not an Ed25519 public key; {_HOW_TO_MAKE}")
    return trusted


def pem_of(text: str | None, path: Path | None, variable: str) -> tuple[bytes, str] | None:
    """The PEM of a setting that is a text or names a file, and where it is from; None where neither is set.

    Raises:
        ConfigError: The file cannot be read.
    """
    if text is not None:
        return text.encode(), variable
    if path is None:
        return None
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); {_HOW_TO_MAKE}") from error


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
            "with its signing key (docs/how-to/keys.md)"
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


def policy_signer(key: Ed25519PrivateKey) -> Callable[[str], dict[str, str]]:
    """Signs the digest of a version of the live policy.

    Args:
        key: The key of the policy's writers.
    """

    def sign_digest(digest: str) -> dict[str, str]:
        value = base64.b64encode(key.sign(POLICY_CONTEXT + digest.encode())).decode()
        return {"key": key_id(key.public_key()), "ed25519": value}

    return sign_digest


def policy_verifier(trusted: TrustedKeys) -> Callable[[str, object], None]:
    """Raises ``DecisionMismatch`` unless one of the keys signed the digest of a version of the live policy.

    Args:
        trusted: The public keys of those who may write it.
    """

    def verify_digest(digest: str, block: object) -> None:
        key = trusted.get(str(block.get("key"))) if isinstance(block, Mapping) else None
        if not isinstance(block, Mapping) or key is None:
            names = ", ".join(sorted(trusted))
            raise DecisionMismatch(f"no trusted key signed it ({names} are trusted); write it with the policy's key")
        try:
            key.verify(base64.b64decode(str(block.get("ed25519")), validate=True), POLICY_CONTEXT + digest.encode())
        except (InvalidSignature, ValueError) as error:
            raise DecisionMismatch(f"its signature by key {block['key']} is wrong; it was altered") from error

    return verify_digest


def _message(decision: Mapping[str, Any]) -> bytes:
    return CONTEXT + str(decision["hash"]).encode()


_HOW_TO_MAKE = "docs/how-to/keys.md says how to make a key pair"
