"""A signature vouches for one decision by one key; nothing else counts as one."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fairtag.base.errors import ConfigError, DecisionMismatch
from fairtag.model.decision import GateResult, content_hash, make_decision
from fairtag.model.signature import key_id, pem_of, require_signature, sign, signing_key, trusted_keys

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
TRUSTED = {key_id(KEY.public_key()): KEY.public_key()}


def pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.fixture
def decision() -> dict[str, Any]:
    gate = GateResult("relevance", 0.9, "at least 0.8", "pass")
    return make_decision(
        challenger={"version": "5f2c", "model_digest": "5f2c"},
        champion=None,
        data_fingerprint="",
        gates=[gate],
        metrics={},
    )


def test_a_signed_decision_keeps_its_hash_and_is_trusted(decision: dict[str, Any]) -> None:
    signed = sign(decision, KEY)
    assert signed["hash"] == content_hash(signed) == decision["hash"]
    require_signature(signed, TRUSTED)


def test_an_unsigned_decision_is_refused(decision: dict[str, Any]) -> None:
    with pytest.raises(DecisionMismatch, match="not signed"):
        require_signature(decision, TRUSTED)


def test_the_signature_of_a_key_that_is_not_trusted_is_refused(decision: dict[str, Any]) -> None:
    with pytest.raises(DecisionMismatch, match="which is not trusted"):
        require_signature(sign(decision, OTHER), TRUSTED)


@pytest.mark.parametrize("forged", ["other", "base64", "text", "absent"])
def test_a_wrong_signature_under_a_trusted_name_is_refused(decision: dict[str, Any], forged: str) -> None:
    value = {
        "other": sign(decision, OTHER)["signature"]["ed25519"],
        "base64": base64.b64encode(bytes(64)).decode(),
        "text": "not base64",
        "absent": None,
    }[forged]
    with pytest.raises(DecisionMismatch, match="is wrong"):
        require_signature({**decision, "signature": {"key": next(iter(TRUSTED)), "ed25519": value}}, TRUSTED)


def test_a_signature_does_not_move_to_another_decision(decision: dict[str, Any]) -> None:
    other = {**decision, "data_fingerprint": "another"}
    other["hash"] = content_hash(other)
    with pytest.raises(DecisionMismatch, match="is wrong"):
        require_signature({**other, "signature": sign(decision, KEY)["signature"]}, TRUSTED)


def test_several_keys_may_be_trusted(decision: dict[str, Any]) -> None:
    trusted = trusted_keys(pem(OTHER) + pem(KEY), "trusted.pem")
    require_signature(sign(decision, KEY), trusted)
    require_signature(sign(decision, OTHER), trusted)


@pytest.mark.parametrize("content", [b"", b"no key", pem(KEY) + pem(KEY), pem(generate_private_key(SECP256R1()))])
def test_a_text_without_ed25519_public_keys_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"trusted\.pem: .*key"):
        trusted_keys(content, "trusted.pem")


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", pem(KEY)])
def test_a_text_without_a_private_key_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match="no readable private key"):
        signing_key(content, "signing.pem")


def test_a_private_key_of_another_kind_is_refused() -> None:
    key = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ConfigError, match="not an Ed25519 private key"):
        signing_key(key, "ec.pem")


def test_a_key_comes_from_the_environment_before_a_file_and_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("in a file")
    assert pem_of("a text", tmp_path / "key.pem", "FAIRTAG_KEY") == (b"a text", "FAIRTAG_KEY")
    assert pem_of(None, tmp_path / "key.pem", "FAIRTAG_KEY") == (b"in a file", str(tmp_path / "key.pem"))
    assert pem_of(None, None, "FAIRTAG_KEY") is None
    with pytest.raises(ConfigError, match="cannot be read"):
        pem_of(None, tmp_path / "absent.pem", "FAIRTAG_KEY")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL's command line is not installed")
def test_the_key_pair_that_the_documentation_makes_signs_and_verifies(decision: dict[str, Any], tmp_path: Path) -> None:
    for line in (
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", "signing.pem"],
        ["openssl", "pkey", "-in", "signing.pem", "-pubout", "-out", "trusted.pem"],
    ):
        subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    signing, trusted = ((tmp_path / name).read_bytes() for name in ("signing.pem", "trusted.pem"))
    require_signature(sign(decision, signing_key(signing, "signing")), trusted_keys(trusted, "trusted"))
