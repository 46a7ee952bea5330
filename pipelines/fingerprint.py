"""Digests of what a run reads: its source files and its code."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from fairtag.base.errors import MissingDataError
from fairtag.base.files import canonical_json, sha256_file, sha256_text

CODE = ("fairtag", "components", "feature_repo", "pipelines")


def data_fingerprint(dataset: str, data: Path | None, seed: int) -> str:
    """Hex SHA-256 over the contents of a data set's files; of name and seed where the shop is simulated.

    Raises:
        MissingDataError: The folder is absent.
    """
    if dataset == "synthetic":
        return sha256_text(canonical_json([dataset, seed]))
    if data is None:
        raise MissingDataError(f"the data set {dataset} is read from a folder and none was given; name it with --data")
    if not data.is_dir():
        raise MissingDataError(f"--data {data}: no such folder")
    return sha256_text(canonical_json([dataset, _digests(_own_folder(dataset, data))]))


def code_version() -> str:
    """Version of the distribution and a digest of the packages that shape a model, for any kind of installation."""
    digests = {package: _digests(Path(str(files(package))), "*.py") for package in CODE}
    return f"{version('fairtag')}+{sha256_text(canonical_json(digests))[:12]}"


def _own_folder(dataset: str, data: Path) -> Path:
    own = data / dataset.replace("-", "_")
    return own if own.is_dir() else data


def _digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    found = (file for file in folder.rglob(pattern) if file.is_file())
    return {file.relative_to(folder).as_posix(): sha256_file(file) for file in sorted(found)}
