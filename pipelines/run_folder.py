"""The folder of a run on this machine: where things lie in it, and digests of the data and the code that filled it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from fairtag.base.errors import MissingDataError
from fairtag.base.files import canonical_json, sha256_file, sha256_text

CODE = ("fairtag", "components", "feature_repo", "pipelines")  # the packages that shape a model


@dataclass(frozen=True)
class RunFolder:
    """Where things lie in the folder of a run.

    Args:
        root: The folder, absolute.
    """

    root: Path

    @property
    def state(self) -> Path:
        """What was run and how it ended."""
        return self.root / "run.json"

    @property
    def owner(self) -> Path:
        """Which process works here now."""
        return self.root / ".owner"

    @property
    def decision(self) -> Path:
        """The decision document."""
        return self.root / "DECISION.json"

    @property
    def model_folder(self) -> Path:
        """The model folder of the last run, accepted or not."""
        return self.root / "model_folder"

    @property
    def tables(self) -> Path:
        """The validated tables."""
        return self.root / "tables"

    @property
    def training_set(self) -> Path:
        """Impressions with their features, hold-out included."""
        return self.root / "training_set.parquet"

    @property
    def features(self) -> Path:
        """The feature folder that serving reads."""
        return self.root / "features"

    @property
    def registry(self) -> Path:
        """The embedded model registry."""
        return self.root / "registry"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints from which a killed training resumes."""
        return self.root / "checkpoints"

    @property
    def live(self) -> Path:
        """The pointer to the model that serves."""
        return self.root / "live"

    @property
    def serving(self) -> Path:
        """Keys and quote log of the endpoint."""
        return self.root / "serving"

    @property
    def results_page(self) -> Path:
        """One priced page as HTML."""
        return self.root / "page.html"

    @property
    def reports(self) -> Path:
        """Reports of the monitoring jobs."""
        return self.root / "reports"

    @property
    def workspace(self) -> Path:
        """Evidently's workspace, with a snapshot of each run of a job; ``make monitor-ui`` opens it."""
        return self.root / "workspace"


def data_fingerprint(dataset: str, data: Path | None, seed: int) -> str:
    """Hex SHA-256 of the contents of a data set's files; of its name and seed where the shop is simulated.

    Args:
        dataset: Name of the data set.
        data: Folder of the data set, or the folder that holds it under its name.
        seed: Seed of the simulated shop.

    Raises:
        MissingDataError: The data set needs a folder and there is none.
    """
    if dataset == "synthetic":
        return sha256_text(canonical_json([dataset, seed]))
    if data is None:
        raise MissingDataError(f"data set {dataset} is read from a folder and none was given; name it with --data")
    if not data.is_dir():
        raise MissingDataError(f"--data {data}: no such folder; name the folder that holds the tables")
    return sha256_text(canonical_json([dataset, _digests(_own_folder(dataset, data))]))


def code_version() -> str:
    """Version of the installed distribution, and a digest of the packages that shape a model."""
    digests = {package: _digests(Path(str(files(package))), "*.py") for package in CODE}
    return f"{version('fairtag')}+{sha256_text(canonical_json(digests))[:12]}"


def _own_folder(dataset: str, data: Path) -> Path:
    own = data / dataset.replace("-", "_")
    return own if own.is_dir() else data


def _digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    found = (file for file in folder.rglob(pattern) if file.is_file())
    return {file.relative_to(folder).as_posix(): sha256_file(file) for file in sorted(found)}
