"""The model registry on MLflow: runs with curves, versions with their lineage, aliases.

A version is a model folder: its files are artefacts of the run and its digest is a tag, so that the same model is never
registered twice. ``challenger`` is the newest accepted version, ``champion`` the one that serves.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException, RestException
from sqlalchemy.engine import URL, make_url

from fairtag.base.errors import ConfigError, ModelFolderMissing, UnavailableError
from fairtag.base.files import directory_atomic, read_json
from fairtag.model.decision import require_accepted, write_decision
from fairtag.model.manifest import DECISION, read_manifest, verify_files
from fairtag.model.signature import TrustedKeys

CHAMPION = "champion"
CHALLENGER = "challenger"
EXPERIMENT = "fairtag"
MODEL = "fairtag-pricing"
MODEL_FOLDER = "model_folder"
RUN_KEY = "fairtag.run_key"
# Lineage of a version, as tags; an InferenceService carries the same as annotations.
MODEL_DIGEST = "fairtag.model_digest"
DATA_FINGERPRINT = "fairtag.data_fingerprint"
DECISION_HASH = "fairtag.decision_hash"
RUN = "fairtag.run"
REPLACED = "fairtag.replaced"  # the champion before this version
BATCH = 1_000  # metrics in one request, which is MLflow's own limit

for _name in ("mlflow", "alembic"):  # their first start logs a line for each migration
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Version:
    """One registered model.

    Args:
        number: Version in the registry.
        model_digest: Digest of its model folder.
        lineage: Its tags: run, data fingerprint, decision hash.
        created: Whether this call registered it; False when it was registered before.
    """

    number: str
    model_digest: str
    lineage: Mapping[str, str]
    created: bool = False


class Registry:
    """One MLflow tracking server or SQLite file, and one model name in it.

    Args:
        uri: ``sqlite:///path`` or the address of a server.
        artifacts: Folder or URL for the artefacts of a new experiment; the server's own when None.
        model: Registered model.
        experiment: Experiment of the runs.
    """

    def __init__(
        self, uri: str, artifacts: str | None = None, *, model: str = MODEL, experiment: str = EXPERIMENT
    ) -> None:
        if uri.startswith("sqlite"):
            Path(str(make_url(uri).database)).parent.mkdir(parents=True, exist_ok=True)
        with _reachable(uri):
            self._client = MlflowClient(uri, uri)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment: str = (
                found.experiment_id if found else self._client.create_experiment(experiment, artifacts)
            )
        self._uri = uri
        self._model = model

    @classmethod
    def local(cls, folder: Path) -> Registry:
        """The embedded registry of a folder: SQLite and a folder of artefacts."""
        folder = folder.absolute()
        # In a URL a path's % and ? have other meanings: unescaped, the database would lie in another folder. With the
        # driver named, MLflow does not make a folder of the escaped name beside it.
        url = URL.create("sqlite+pysqlite", database=str(folder / "mlflow.db"))
        return cls(url.render_as_string(hide_password=False), (folder / "artifacts").as_uri())

    def log_run(
        self,
        key: str,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        curves: Sequence[Mapping[str, float]] = (),
        tags: Mapping[str, str] | None = None,
        files: Sequence[Path] = (),
    ) -> str:
        """Record a training run, unless a run with the same key was recorded before.

        Args:
            key: What identifies the run, such as the hash of its decision.
            params: Settings.
            metrics: Final figures.
            curves: Rows with ``step`` and the figures at that step.
            tags: Free tags.
            files: Files kept with the run.

        Returns:
            The run's id.
        """
        with _reachable(self._uri):
            for run in self._client.search_runs([self._experiment], f"tags.`{RUN_KEY}` = '{key}'"):
                if run.info.status == "FINISHED":
                    return str(run.info.run_id)
            run_id = str(self._client.create_run(self._experiment, tags={RUN_KEY: key, **(tags or {})}).info.run_id)
            self._client.log_batch(run_id, params=[Param(name, str(value)[:6_000]) for name, value in params.items()])
            points = [*_points([{"step": 0, **metrics}]), *_points(curves)]
            for start in range(0, len(points), BATCH):
                self._client.log_batch(run_id, metrics=points[start : start + BATCH])
            for file in files:
                self._client.log_artifact(run_id, str(file))
            self._client.set_terminated(run_id)
        return run_id

    def register(
        self,
        model_folder: Path,
        decision: Mapping[str, Any],
        run_id: str,
        *,
        pipeline_run: str = "",
        trusted: TrustedKeys | None = None,
    ) -> Version:
        """Register a model folder as challenger, given an accepted decision about exactly this folder.

        Where ``trusted`` holds keys, one of them must have signed the decision.

        Raises:
            DecisionRejected: The decision says rejected.
            DecisionMismatch: The decision was altered, or is about another model folder.
            DigestMismatch: A file of the model folder differs from its manifest.
        """
        require_accepted(decision, model_folder, trusted)
        manifest = read_manifest(model_folder)
        verify_files(model_folder, manifest)
        known = self.find(manifest["digest"])
        if known is not None:
            return known
        lineage = {
            MODEL_DIGEST: manifest["digest"],
            DATA_FINGERPRINT: decision["data_fingerprint"],
            DECISION_HASH: decision["hash"],
            RUN: pipeline_run,
        }
        with _reachable(self._uri):
            self._client.log_artifacts(run_id, str(model_folder), MODEL_FOLDER)
            with tempfile.TemporaryDirectory() as scratch:
                kept = write_decision(Path(scratch) / DECISION, decision)
                self._client.log_artifact(run_id, str(kept), MODEL_FOLDER)
            self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in lineage.items()])
            self._ensure_model()
            version = self._client.create_model_version(
                self._model, f"runs:/{run_id}/{MODEL_FOLDER}", run_id=run_id, tags=lineage
            )
            self._client.set_registered_model_alias(self._model, CHALLENGER, version.version)
        return Version(str(version.version), manifest["digest"], lineage, created=True)

    def promote(self, number: str) -> Version:
        """Make a version champion and record which one it replaced; promoting the champion changes nothing."""
        with _reachable(self._uri):
            version = self._client.get_model_version(self._model, number)
            before = self.champion()
            if before is None or before.number != number:
                replaced = before.number if before else ""
                self._client.set_model_version_tag(self._model, number, REPLACED, replaced)
                self._client.set_registered_model_alias(self._model, CHAMPION, number)
        return _version(version)

    def rollback(self) -> Version:
        """Make the previous champion champion again.

        Raises:
            ConfigError: There is no champion, or it replaced none.
        """
        champion = self.champion()
        replaced = champion.lineage.get(REPLACED, "") if champion else ""
        if not replaced:
            raise ConfigError(f"{self._model}: no earlier champion is recorded, so there is nothing to go back to")
        with _reachable(self._uri):
            self._client.set_registered_model_alias(self._model, CHAMPION, replaced)
            return _version(self._client.get_model_version(self._model, replaced))

    def champion(self) -> Version | None:
        """The version that serves; None before the first."""
        return self._by_alias(CHAMPION)

    def challenger(self) -> Version | None:
        """The newest accepted version; None before the first."""
        return self._by_alias(CHALLENGER)

    def find(self, model_digest: str) -> Version | None:
        """The version of a model folder; None when it was never registered."""
        with _reachable(self._uri):
            found = self._client.search_model_versions(
                f"name = '{self._model}' and tags.`{MODEL_DIGEST}` = '{model_digest}'"
            )
        return _version(found[0]) if found else None

    def versions(self) -> list[Version]:
        """All versions, newest first."""
        with _reachable(self._uri):
            found = self._client.search_model_versions(f"name = '{self._model}'")
        return [_version(version) for version in sorted(found, key=lambda v: int(v.version), reverse=True)]

    def fetch(self, version: Version, out: Path) -> Path:
        """Copy a version's model folder to a folder, complete and checked file by file, or not at all.

        Raises:
            ModelFolderMissing: The registry has the version but not its files.
            DigestMismatch: A file differs from what was registered.
        """
        with _reachable(self._uri), tempfile.TemporaryDirectory() as scratch:
            try:
                uri = self._client.get_model_version_download_uri(self._model, version.number)
                run_id, _, path = uri.removeprefix("runs:/").partition("/")
                fetched = Path(self._client.download_artifacts(run_id, path, scratch))
            except OSError as error:
                raise ModelFolderMissing(f"version {version.number} of {self._model} has no files: {error}") from error
            with directory_atomic(out) as folder:
                shutil.copytree(fetched, folder, dirs_exist_ok=True)
                verify_files(folder, read_manifest(folder))
        return out

    def champion_model_folder(self, out: Path) -> Path | None:
        """Fetch the champion's model folder; None before the first champion."""
        champion = self.champion()
        return None if champion is None else self.fetch(champion, out)

    def _by_alias(self, alias: str) -> Version | None:
        # Not by the call for an alias: behind a login, MLflow answers it with 403 while model or alias are missing.
        with _reachable(self._uri):
            try:
                number = self._client.get_registered_model(self._model).aliases.get(alias)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None  # no such model yet
                raise
            return None if number is None else _version(self._client.get_model_version(self._model, number))

    def _ensure_model(self) -> None:
        try:
            self._client.create_registered_model(self._model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def open_registry(address: str) -> Registry:
    """The registry of a server (``https://...``), of a database (``sqlite:///...``), or embedded in a folder."""
    return Registry(address) if "://" in address else Registry.local(Path(address))


def record(registry: Registry, model_folder: Path, decision: Mapping[str, Any], encoder: Path | None = None) -> str:
    """Record the run behind a decision, accepted or not, with curves, gates and lineage; once for each decision.

    Returns:
        The run's id.
    """
    manifest = read_manifest(model_folder)
    file = encoder / "training_report.json" if encoder else None
    report = read_json(file) if file and file.is_file() else {}
    gates = {f"gate.{g['name']}": g["value"] for g in decision["gates"] if g["value"] is not None}
    return registry.log_run(
        decision["hash"],
        params={name: manifest[name] for name in ("dataset", "seed", "items", "code_version") if name in manifest},
        metrics=gates,
        curves=[*_train_rows(report.get("losses", [])), *_train_rows(report.get("evaluations", []))],
        tags={
            MODEL_DIGEST: manifest["digest"],
            DATA_FINGERPRINT: decision["data_fingerprint"],
            DECISION_HASH: decision["hash"],
            "fairtag.accepted": str(decision["accepted"]).lower(),
        },
    )


def _train_rows(rows: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    return [{name if name == "step" else f"train.{name}": value for name, value in row.items()} for row in rows]


@contextmanager
def _reachable(uri: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, RestException, OSError) as error:
        if isinstance(error, MlflowException) and error.error_code in ("RESOURCE_DOES_NOT_EXIST",):
            raise ConfigError(f"model registry {uri}: {error.message}") from error
        if "You are not authenticated" in str(error):  # MLflow's words; it has no code of its own for it
            raise ConfigError(
                f"model registry {uri} asks for a login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            ) from error
        raise UnavailableError(f"model registry {uri} did not answer: {error}") from error


def _version(version: ModelVersion) -> Version:
    lineage = {str(name): str(value) for name, value in version.tags.items()}
    return Version(str(version.version), lineage.get(MODEL_DIGEST, ""), lineage)


def _points(rows: Sequence[Mapping[str, float]]) -> list[Metric]:
    return [
        Metric(name, float(value), 0, int(row["step"])) for row in rows for name, value in row.items() if name != "step"
    ]
