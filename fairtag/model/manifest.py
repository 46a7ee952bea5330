"""The manifest of a model folder: its files with their SHA-256, and the digest that names the model.

The decision about a model is made when its folder is complete and names it by its digest, so it is none of the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairtag.base.errors import DigestMismatch, ModelFolderError, ModelFolderMissing
from fairtag.base.files import canonical_json, read_json, sha256_file, sha256_text, write_json

MANIFEST = "manifest.json"
DECISION = "decision.json"  # beside the manifest, once there is one
NOT_LISTED = (MANIFEST, DECISION)
SCHEMA = "fairtag.model/2"


def write_manifest(model_folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``manifest.json``: every file of the folder with its size and SHA-256, and the facts.

    The digest covers the files alone, so that the same model built twice has the same digest and version.

    Args:
        model_folder: The folder, complete but for the manifest.
        facts: Further entries, such as the data fingerprint; JSON values.
    """
    files = {
        file.relative_to(model_folder).as_posix(): {"sha256": sha256_file(file), "bytes": file.stat().st_size}
        for file in sorted(model_folder.rglob("*"))
        if file.is_file() and file.relative_to(model_folder).as_posix() not in NOT_LISTED
    }
    digest = sha256_text(canonical_json(files))
    manifest = {**facts, "schema": SCHEMA, "files": files, "digest": digest, "version": digest[:12]}
    write_json(model_folder / MANIFEST, manifest)
    return manifest


def read_manifest(model_folder: Path) -> dict[str, Any]:
    """Read the manifest and check that its digest matches its list of files.

    Raises:
        ModelFolderMissing: There is no manifest at the path.
        ModelFolderError: It is not JSON, or of another schema.
        DigestMismatch: The digest does not match the list of files.
    """
    path = model_folder / MANIFEST
    if not path.is_file():
        raise ModelFolderMissing(
            f"{model_folder}: no model folder there (it has no {MANIFEST}); the fit step writes one"
        )
    try:
        manifest = read_json(path)
    except ValueError as error:
        raise ModelFolderError(f"{path}: not valid JSON ({error}); fetch the model folder again") from error
    if manifest.get("schema") != SCHEMA:
        raise ModelFolderError(f"{path}: schema {manifest.get('schema')!r}, this version reads {SCHEMA!r}; train again")
    if sha256_text(canonical_json(manifest["files"])) != manifest["digest"]:
        raise DigestMismatch(f"{path}: the digest does not match the list of files; the manifest was altered")
    return manifest


def verify_files(model_folder: Path, manifest: Mapping[str, Any]) -> None:
    """Check every file against the manifest; a missing or extra file is a mismatch, too.

    Raises:
        DigestMismatch: A file is missing, extra, or differs.
    """
    listed: Mapping[str, Mapping[str, Any]] = manifest["files"]
    present = {file.relative_to(model_folder).as_posix() for file in model_folder.rglob("*") if file.is_file()}
    present -= set(NOT_LISTED)
    if missing := sorted(set(listed) - present):
        raise DigestMismatch(f"{model_folder}: {', '.join(missing[:3])} is in the manifest but not on disk")
    if extra := sorted(present - set(listed)):
        raise DigestMismatch(f"{model_folder}: {', '.join(extra[:3])} is on disk but not in the manifest")
    for name, facts in listed.items():
        found = sha256_file(model_folder / name)
        if found != facts["sha256"]:
            raise DigestMismatch(
                f"{model_folder / name}: digest {found[:12]}, the manifest says {facts['sha256'][:12]}; "
                "the model folder was altered or not copied whole; fetch it again"
            )


class FolderSeal:
    """Notices that a file of a model folder was edited in place, which its memory map would show at once.

    A file that was removed, or replaced by another in a rename, is none: what is mapped stays as it was.

    Args:
        model_folder: The folder, before its files are verified.
        manifest: Its manifest.
    """

    def __init__(self, model_folder: Path, manifest: Mapping[str, Any]) -> None:
        self._folder = model_folder.resolve()
        self._digests: dict[str, str] = {name: facts["sha256"] for name, facts in manifest["files"].items()}
        self._states = {name: state for name in self._digests if (state := self._state(name))}

    def altered(self) -> str:
        """Name of the first file whose content changed in place; empty if there is none.

        Only files whose inode was written to since the last look are hashed again.
        """
        for name, before in self._states.items():
            now = self._state(name)
            if now is None or now == before or now[0] != before[0]:
                continue
            if sha256_file(self._folder / name) != self._digests[name]:
                return name
            self._states[name] = now
        return ""

    def _state(self, name: str) -> tuple[int, int, int] | None:
        """Inode, size and time of the last change (ns); the kernel sets that time, unlike that of the last write."""
        try:
            found = (self._folder / name).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_ctime_ns
