"""Makes a model live: an atomic pointer in a folder, or an InferenceService. Knows no model and judges nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pricing.decision import require_accepted
from pricing.errors import BundleMissing
from pricing.files import directory_atomic
from pricing.manifest import read_manifest, verify_files

LIVE = "live"
MODELS = "models"


def deploy_bundle(bundle: Path, decision: Mapping[str, Any], target: str) -> str:
    """Make an accepted bundle live.

    Args:
        bundle: Folder of the bundle.
        decision: Decision about exactly this bundle.
        target: Folder that gets ``models/<version>`` and the pointer ``live``.

    Returns:
        Where the model is live.

    Raises:
        DecisionRejected: The decision says rejected.
        DecisionMismatch: The decision was altered or speaks of another bundle.
        DigestMismatch: A file of the bundle is not what its manifest says.
    """
    require_accepted(decision, bundle)
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    folder = Path(target)
    model = folder / MODELS / manifest["version"]
    if not model.is_dir():
        with directory_atomic(model) as copy:
            shutil.copytree(bundle, copy, dirs_exist_ok=True)
    return str(point(folder, model))


def point(folder: Path, model: Path) -> Path:
    """Turn ``live`` to a model of the folder in one rename; a reader sees the old model or the new one."""
    if not model.is_dir():
        raise BundleMissing(f"{model}: no model bundle there")
    live, fresh = folder / LIVE, folder / f".{LIVE}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(model.relative_to(folder))
    fresh.replace(live)
    return live


def live_bundle(folder: Path) -> Path:
    """The folder of the live model.

    Raises:
        BundleMissing: Nothing is live there.
    """
    live = folder / LIVE
    if not live.is_dir():
        raise BundleMissing(f"{folder}: no model is live there; a run with an accepted decision makes one")
    return live.resolve()
