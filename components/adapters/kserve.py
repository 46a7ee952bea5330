"""Makes a model live: by an atomic pointer in a folder, or on an InferenceService."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fsspec

from components.adapters.inference_service import InferenceService
from components.adapters.undo import undone_on_failure
from fairtag.base.errors import ConfigError, ModelFolderMissing
from fairtag.base.files import canonical_json, directory_atomic, write_json
from fairtag.model.decision import keep_decision, read_decision, require_accepted
from fairtag.model.manifest import DECISION, MANIFEST, read_manifest, verify_files
from fairtag.model.signature import TrustedKeys

LIVE = "live"
MODELS = "models"
DEPLOYMENTS = "deployments.jsonl"  # what went live in a folder, and when
SCHEME = "kserve://"


def deploy_model_folder(
    model_folder: Path,
    decision: Mapping[str, Any],
    target: str,
    *,
    timeout: float,
    run: str = "",
    trusted: TrustedKeys | None = None,
) -> str:
    """Make an accepted model folder live.

    Args:
        model_folder: The model folder.
        decision: Decision about exactly this model folder.
        target: A folder, which gets ``models/<version>`` and the pointer ``live``; or
            ``kserve://NAMESPACE/NAME?models=URL``, an InferenceService and the fsspec URL that models are copied to.
        timeout: Longest wait for a service to serve it, seconds.
        run: Pipeline run, for the lineage.
        trusted: Keys one of which must have signed the decision; None asks for no signature.

    Returns:
        Where the model is live.

    Raises:
        DecisionRejected: The decision says rejected.
        DecisionMismatch: The decision was altered, or is about another model folder.
        DigestMismatch: A file of the model folder differs from its manifest.
        UnavailableError: The service did not become ready; the previous model is back.
    """
    require_accepted(decision, model_folder, trusted)
    manifest = read_manifest(model_folder)
    verify_files(model_folder, manifest)
    if target.startswith(SCHEME):
        facts = lineage(decision, manifest, run)
        return _deploy_to_cluster(model_folder, manifest, target, decision, facts, timeout=timeout)
    folder = Path(target)
    model = folder / MODELS / manifest["version"]
    if not model.is_dir():
        with directory_atomic(model) as copy:
            shutil.copytree(model_folder, copy, dirs_exist_ok=True)
    keep_decision(decision, model)  # the same model may be evaluated again, with another outcome
    live = point(folder, model)
    _note_deployment(folder, {"version": manifest["version"], "run": run})
    return str(live)


def model_before(folder: Path) -> Path:
    """The folder of the model that was live before, in the folder of a run.

    Raises:
        ConfigError: No earlier model is recorded.
    """
    deployed: list[str] = []
    for entry in deployments(folder):
        if "rolled_back" in entry:
            deployed.pop()
        elif deployed[-1:] != [entry["version"]]:
            deployed.append(entry["version"])
    current = live_model_folder(folder).name
    if len(deployed) < 2 or deployed[-1] != current:
        raise ConfigError(f"{folder}: no model is recorded that was live before {current}; there is none to go back to")
    return folder / MODELS / deployed[-2]


def roll_back_folder(folder: Path, *, who: str, why: str) -> tuple[str, str]:
    """Make the model live that was live before, in the folder of a run; its files and its decision are checked again.

    Returns:
        The version that was live, and the one that is live now.

    Raises:
        ConfigError: No earlier model is recorded.
        DecisionError: The earlier model has no decision, or one that does not accept exactly its files.
        DigestMismatch: A file of the earlier model was altered.
    """
    model, current = model_before(folder), live_model_folder(folder).name
    require_accepted(read_decision(model / DECISION), model)
    verify_files(model, read_manifest(model))
    point(folder, model)
    _note_deployment(folder, {"version": model.name, "rolled_back": current, "who": who, "why": why})
    return current, model.name


def deployments(folder: Path) -> list[dict[str, Any]]:
    """What went live in a folder, oldest first: each deployment, and each way back."""
    file = folder / DEPLOYMENTS
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def _note_deployment(folder: Path, facts: Mapping[str, str]) -> None:
    line = canonical_json({"at": datetime.now(UTC).isoformat(timespec="seconds"), **facts})
    with (folder / DEPLOYMENTS).open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def lineage(decision: Mapping[str, Any], manifest: Mapping[str, Any], run: str) -> dict[str, str]:
    """Where a model comes from, for the record beside the service that serves it."""
    return {
        "model-version": str(manifest["version"]),
        "model-digest": str(manifest["digest"]),
        "data-fingerprint": str(decision["data_fingerprint"]),
        "decision-hash": str(decision["hash"]),
        "run": run,
    }


def upload_pricing_model(
    model_folder: Path, manifest: Mapping[str, Any], models: str, decision: Mapping[str, Any]
) -> str:
    """Copy a model folder to ``<models>/<version>`` of an object store, the manifest last, unless it is there already.

    The decision about it is written in any case: the same model may be evaluated again, with another outcome.

    Returns:
        Its URL.
    """
    store, root = fsspec.core.url_to_fs(models)
    folder = f"{root.rstrip('/')}/{manifest['version']}"
    store.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        store.put_file(str(write_json(Path(scratch) / DECISION, dict(decision))), f"{folder}/{DECISION}")
    if not store.exists(f"{folder}/{MANIFEST}"):  # the manifest is written last, so the rest is there too
        for name in manifest["files"]:
            store.makedirs(f"{folder}/{name}".rpartition("/")[0], exist_ok=True)
            store.put_file(str(model_folder / name), f"{folder}/{name}")
        store.put_file(str(model_folder / MANIFEST), f"{folder}/{MANIFEST}")
    return f"{models.rstrip('/')}/{manifest['version']}"


def service_of(target: str) -> tuple[str, str, str]:
    """Namespace, name and models URL of ``kserve://NAMESPACE/NAME?models=URL``.

    Raises:
        ConfigError: The target is not of that form.
    """
    parts = urlsplit(target)
    models = parse_qs(parts.query).get("models", [""])[0]
    name = parts.path.strip("/")
    if not (target.startswith(SCHEME) and parts.netloc and name and models):
        raise ConfigError(f"target {target!r} is refused; write kserve://NAMESPACE/NAME?models=s3://bucket/models")
    return parts.netloc, name, models


def _deploy_to_cluster(
    model_folder: Path,
    manifest: Mapping[str, Any],
    target: str,
    decision: Mapping[str, Any],
    facts: Mapping[str, str],
    *,
    timeout: float,
) -> str:
    namespace, name, models = service_of(target)
    uri = upload_pricing_model(model_folder, manifest, models, decision)
    put_live(InferenceService(namespace, name), uri, facts, timeout=timeout)
    return uri


def put_live(service: InferenceService, uri: str, facts: Mapping[str, str], *, timeout: float) -> None:
    """Serve a stored model folder with all traffic; the previous state comes back where it does not become ready.

    Args:
        service: The service.
        uri: Address of the model folder.
        facts: Its lineage.
        timeout: Longest wait, seconds.

    Raises:
        Superseded: Somebody else changed the service meanwhile; theirs counts.
        UnavailableError: It did not become ready; the message says why, and what is back.
    """
    with undone_on_failure(service, _say, timeout=timeout) as undo:
        after = undo.after(service.deploy(uri, facts))
        service.wait_ready(after, _say, timeout=timeout)
    service.record_live(after)


def _say(state: str) -> None:
    print(f"deploy: {state}", flush=True)


def point(folder: Path, model: Path) -> Path:
    """Point ``live`` to a model of the folder in one rename; a reader sees the old model or the new one."""
    if not model.is_dir():
        raise ModelFolderMissing(f"{model}: no model folder there")
    live, fresh = folder / LIVE, folder / f".{LIVE}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(model.relative_to(folder))
    fresh.replace(live)
    return live


def live_model_folder(folder: Path) -> Path:
    """The folder of the live model.

    Raises:
        ModelFolderMissing: Nothing is live there.
    """
    live = folder / LIVE
    if not live.is_dir():
        raise ModelFolderMissing(f"{folder}: no model is live there; a run with an accepted decision makes one")
    return live.resolve()
