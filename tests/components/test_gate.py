"""Rejected means not registered and not served, whoever calls the steps: the functions that Kubeflow runs are tried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fairtag.base.errors import DecisionError, DecisionMismatch, DecisionRejected, DigestMismatch, ModelFolderMissing
from fairtag.model.decision import GateResult, make_decision, read_decision, write_decision
from fairtag.model.manifest import read_manifest, write_manifest


@pytest.fixture(autouse=True)
def _registry(tmp_path: Path, empty_registry: Callable[[Path], Path]) -> None:
    empty_registry(tmp_path / "registry")


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """The smallest folder that has the outline of a model folder."""
    folder = tmp_path / "model_folder"
    folder.mkdir()
    (folder / "weights.txt").write_text("weights")
    write_manifest(folder, {"dataset": "test", "seed": 0})
    return folder


def _decision(model_folder: Path, path: Path, *, accepted: bool) -> Path:
    manifest = read_manifest(model_folder)
    challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
    gate = GateResult("relevance", 0.5, "at least 0.4", "pass" if accepted else "fail")
    return write_decision(
        path,
        make_decision(challenger=challenger, champion=None, data_fingerprint="f", gates=[gate], metrics={}),
    )


def _register(model_folder: Path, decision: Path, root: Path) -> str:
    from components.register import register

    artifacts = {
        "model_folder": SimpleNamespace(path=str(model_folder)),
        "decision": SimpleNamespace(path=str(decision)),
    }
    return str(register.python_func(**artifacts, registry=str(root / "registry"), pipeline_run="run-1"))


def _deploy(model_folder: Path, decision: Path, root: Path, version: str) -> str:
    from components.deploy import deploy

    artifacts = {
        "model_folder": SimpleNamespace(path=str(model_folder)),
        "decision": SimpleNamespace(path=str(decision)),
    }
    places = {"registry": str(root / "registry"), "target": str(root / "serving")}
    return str(deploy.python_func(**artifacts, **places, version=version, timeout=1.0))


def _registered(root: Path) -> list[Any]:
    from components.adapters.mlflow import Registry

    return Registry.local(root / "registry").versions()


def test_an_accepted_model_folder_is_registered_goes_live_and_is_champion_and_again_changes_nothing(
    model_folder: Path, tmp_path: Path
) -> None:
    from components.adapters.mlflow import Registry

    decision = _decision(model_folder, tmp_path / "DECISION.json", accepted=True)
    for _ in range(2):
        version = _register(model_folder, decision, tmp_path)
        live = _deploy(model_folder, decision, tmp_path, version)
    assert version == "1"
    assert (Path(live) / "weights.txt").read_text() == "weights"
    assert len(_registered(tmp_path)) == 1
    assert Registry.local(tmp_path / "registry").champion() == _registered(tmp_path)[0]


def test_a_rejected_model_folder_is_neither_registered_nor_live(model_folder: Path, tmp_path: Path) -> None:
    decision = _decision(model_folder, tmp_path / "DECISION.json", accepted=False)
    with pytest.raises(DecisionRejected, match="relevance: fail"):
        _register(model_folder, decision, tmp_path)
    with pytest.raises(DecisionRejected, match="relevance: fail"):
        _deploy(model_folder, decision, tmp_path, "1")
    assert _registered(tmp_path) == []
    assert not (tmp_path / "serving").exists()


def test_a_rejection_leaves_the_model_that_serves_in_place(model_folder: Path, tmp_path: Path) -> None:
    accepted = _decision(model_folder, tmp_path / "first.json", accepted=True)
    live = Path(_deploy(model_folder, accepted, tmp_path, _register(model_folder, accepted, tmp_path)))
    served = live.resolve()
    (model_folder / "weights.txt").write_text("worse")
    write_manifest(model_folder, {"dataset": "test", "seed": 0})
    with pytest.raises(DecisionRejected):
        _deploy(model_folder, _decision(model_folder, tmp_path / "second.json", accepted=False), tmp_path, "1")
    assert live.resolve() == served
    assert (live / "weights.txt").read_text() == "weights"


@pytest.mark.parametrize("step", [_register, lambda *given: _deploy(*given, "1")], ids=["register", "deploy"])
def test_a_decision_that_does_not_fit_stops_the_step(step: Any, model_folder: Path, tmp_path: Path) -> None:
    decision = _decision(model_folder, tmp_path / "DECISION.json", accepted=False)
    decision.write_text(decision.read_text().replace('"accepted": false', '"accepted": true').replace("fail", "pass"))
    with pytest.raises(DecisionMismatch, match="altered"):
        step(model_folder, decision, tmp_path)
    fitting = _decision(model_folder, tmp_path / "fitting.json", accepted=True)
    (model_folder / "weights.txt").write_text("wicked")
    with pytest.raises(DigestMismatch, match=r"weights\.txt"):
        step(model_folder, fitting, tmp_path)
    with pytest.raises(DecisionError, match="no readable decision"):
        step(model_folder, tmp_path / "absent.json", tmp_path)
    with pytest.raises(ModelFolderMissing, match="no model folder"):
        step(tmp_path / "nowhere", fitting, tmp_path)
    assert _registered(tmp_path) == []
    assert not (tmp_path / "serving").exists()


def test_the_pointer_turns_in_one_rename_and_a_reader_never_misses_it(model_folder: Path, tmp_path: Path) -> None:
    import threading

    from components.adapters.kserve import point

    models = tmp_path / "models"
    for name in ("a", "b"):
        (models / name).mkdir(parents=True)
        (models / name / "weights.txt").write_text(name)
    point(tmp_path, models / "a")
    stop, seen, missed = threading.Event(), set(), []

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add((tmp_path / "live" / "weights.txt").read_text())
            except OSError as error:
                missed.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(2_000):
        point(tmp_path, models / "ab"[turn % 2])
    stop.set()
    reader.join()
    assert (missed, seen) == ([], {"a", "b"})


@pytest.mark.parametrize("step", [_register, lambda *given: _deploy(*given, "1")], ids=["register", "deploy"])
def test_where_keys_are_trusted_a_step_asks_for_the_signature_that_evaluation_makes(
    step: Any, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.adapters.signing import signed

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    decision = _decision(model_folder, tmp_path / "DECISION.json", accepted=True)
    _register(model_folder, decision, tmp_path)
    monkeypatch.setenv("FAIRTAG_TRUSTED_KEYS", public.decode())
    with pytest.raises(DecisionMismatch, match="is not signed"):
        step(model_folder, decision, tmp_path)
    monkeypatch.setenv("FAIRTAG_SIGNING_KEY", private.decode())
    step(model_folder, write_decision(decision, signed(read_decision(decision))), tmp_path)
