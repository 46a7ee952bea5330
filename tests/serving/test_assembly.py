"""What the assembly refuses, and that neither of the two things it loads side by side delays the other's refusal."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client import CollectorRegistry

from fairtag.base.errors import ConfigError, DecisionError, DecisionMismatch, ModelFolderError, ModelFolderMissing
from fairtag.base.files import read_json, write_json
from fairtag.encoder.encoder import DESCRIPTION
from fairtag.model.decision import read_decision, write_decision
from fairtag.model.manifest import DECISION, read_manifest, write_manifest
from fairtag.model.signature import sign
from serving.assembly import Assembly, load_model_core
from serving.metrics import Metrics
from serving.settings import FeatureSettings, ServingSettings


@pytest.mark.parametrize("refused", ["model_folder", "features"])
def test_a_refusal_does_not_wait_for_what_is_loaded_beside_it(
    settings: Callable[..., ServingSettings], refused: str
) -> None:
    released, ended = threading.Event(), threading.Event()

    def slow(_: Any) -> Any:
        released.wait(60)
        ended.set()

    def no_model_folder(_: Any) -> Any:
        raise ModelFolderMissing("no model folder")

    def no_features(_: Any) -> Any:
        raise ConfigError("no folder")

    try:
        with pytest.raises(
            (ModelFolderMissing, ConfigError), match="no model folder" if refused == "model_folder" else "no folder"
        ):
            Assembly(
                settings(),
                Metrics(CollectorRegistry()),
                load_core=no_model_folder if refused == "model_folder" else slow,
                open_reader=no_features if refused == "features" else slow,
            )
        assert not ended.is_set()
    finally:
        released.set()


def test_an_encoder_without_onnx_where_torch_is_absent_is_one_error_that_says_what_to_do(
    shop: Any,
    settings: Callable[..., ServingSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accepted: Callable[[Path], None],
) -> None:
    model_folder = tmp_path / "torch-only"
    shutil.copytree(shop.model_folder, model_folder)
    description = model_folder / "encoder" / DESCRIPTION
    write_json(description, {**read_json(description), "serving": "torch"})
    facts = {k: v for k, v in read_manifest(model_folder).items() if k not in ("files", "digest", "version", "schema")}
    write_manifest(model_folder, facts)
    accepted(model_folder)
    monkeypatch.delitem(sys.modules, "fairtag.encoder.model", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelFolderError, match=r"needs torch, which is not installed here; train .* export: auto"):
        load_model_core(settings(model_folder=model_folder))


def test_a_model_without_a_decision_is_not_served(
    shop: Any, settings: Callable[..., ServingSettings], tmp_path: Path
) -> None:
    model_folder = tmp_path / "undecided"
    shutil.copytree(shop.model_folder, model_folder, ignore=shutil.ignore_patterns(DECISION))
    with pytest.raises(DecisionError, match="only an accepted model is served"):
        load_model_core(settings(model_folder=model_folder))


def test_a_decision_that_no_trusted_key_signed_is_not_served(
    shop: Any, settings: Callable[..., ServingSettings], tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    made = settings(model_folder=shop.model_folder, trusted_keys_file=trusted)
    with pytest.raises(DecisionMismatch, match="is not signed"):
        load_model_core(made)
    signed = write_decision(tmp_path / "signed.json", sign(read_decision(shop.model_folder / DECISION), key))
    core = load_model_core(made.model_copy(update={"decision": signed}))
    assert core.version == read_manifest(shop.model_folder)["version"]
    assert core.altered() == ""


def test_a_hot_swap_to_a_model_without_a_decision_leaves_the_old_one_serving(
    shop: Any, settings: Callable[..., ServingSettings], tmp_path: Path
) -> None:
    model_folder = tmp_path / "swapped"
    shutil.copytree(shop.model_folder, model_folder)
    made = settings(model_folder=model_folder, features=FeatureSettings())
    assembly = Assembly(made, Metrics(CollectorRegistry()))
    try:
        served = assembly.endpoint.served
        facts = {"code_version": "another"}
        (model_folder / DECISION).unlink()
        (model_folder / "extra.txt").write_text("another model")
        write_manifest(model_folder, facts)
        assert assembly.reload() is False
        assert assembly.endpoint.served is served
    finally:
        asyncio.run(assembly.close())
