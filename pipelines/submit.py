"""Sends the training pipeline to Kubeflow Pipelines: version, experiment, run or schedule.

Kubeflow has no idempotency key for runs, so a run's name carries the digest of pipeline and parameters. A run of that
name that is under way or has succeeded is found again instead of started twice.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairtag.base.errors import ConfigError, TrainingError, UnavailableError
from fairtag.base.files import canonical_json, sha256_text
from fairtag.base.text import shorten
from pipelines.compilation import compile_pipeline
from pipelines.settings import Platform
from pipelines.training import NAME, training

Progress = Callable[[str, str], None]

FINAL = {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}
SUCCESS = {"SUCCEEDED", "SKIPPED"}
KEY_LENGTH = 12
PAGE = 100
PRESET = "standard"  # the pipeline's own default
NAME_BYTES = 255  # Kubeflow's column of a run's name; a longer one is answered with status 500


@dataclass(frozen=True)
class Submission:
    """A run or a schedule on Kubeflow.

    Args:
        run_id: Id of the run or of the schedule.
        name: Its name.
        created: False when one of the same name was found.
        url: Its page in Kubeflow's user interface.
    """

    run_id: str
    name: str
    created: bool
    url: str


class Kubeflow:
    """One Kubeflow Pipelines API.

    Args:
        host: Address of the API, such as ``http://localhost:8888``.
        namespace: Namespace, in a multi-user installation.
        token: Bearer token, if the API asks for one.
        experiment: Experiment of the runs.
    """

    def __init__(
        self, host: str, *, namespace: str | None = None, token: str | None = None, experiment: str = "fairtag"
    ) -> None:
        from kfp import Client

        self._host = host.rstrip("/")
        self._namespace = namespace
        with _answering(self._host):
            self._client = Client(host=self._host, existing_token=token, namespace=namespace or "kubeflow")
            self._experiment = str(self._client.create_experiment(experiment, namespace=namespace).experiment_id)

    def submit(self, parameters: Mapping[str, Any], platform: Platform, *, name: str | None = None) -> Submission:
        """Upload the pipeline if it changed and start a run, unless the same run is under way or has succeeded.

        Args:
            parameters: Parameters of the pipeline.
            platform: What the cluster decides about the steps.
            name: Name of the run; by default it carries the digest of pipeline and parameters. One that Kubeflow would
                refuse as too long is cut between words and ends with its own digest, so that it stays unique.
        """
        pipeline, version, digest = self._upload(platform, parameters.get("preset", PRESET))
        name = run_name(name) if name else f"{NAME}-{_key(digest, parameters)}"
        if found := self._under_way(name):
            return self._submission(found, name, created=False)
        with _answering(self._host):
            run = self._client.run_pipeline(
                self._experiment, name, pipeline_id=pipeline, version_id=version, params=dict(parameters)
            )
        return self._submission(str(run.run_id), name, created=True)

    def schedule(self, cron: str, parameters: Mapping[str, Any], platform: Platform) -> Submission:
        """Start runs on a schedule: never two at once, and none to catch up on missed times.

        Args:
            cron: Six fields, seconds first, as Kubeflow takes it.
            parameters: Parameters of the pipeline.
            platform: What the cluster decides about the steps.

        Raises:
            ConfigError: The schedule does not have six fields.
        """
        if len(cron.split()) != 6:
            raise ConfigError(f"--cron {cron!r} is refused; Kubeflow takes six fields, seconds first: '0 0 3 * * *'")
        pipeline, version, digest = self._upload(platform, parameters.get("preset", PRESET))
        name = f"{NAME}-{_key(digest, {**parameters, 'cron': cron})}"
        with _answering(self._host):
            known = self._client.list_recurring_runs(page_size=PAGE, experiment_id=self._experiment).recurring_runs
            for job in known or []:
                if job.display_name == name:
                    return self._submission(str(job.recurring_run_id), name, created=False, kind="recurringrun")
            job = self._client.create_recurring_run(
                self._experiment,
                name,
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                params=dict(parameters),
                pipeline_id=pipeline,
                version_id=version,
            )
        return self._submission(str(job.recurring_run_id), name, created=True, kind="recurringrun")

    def wait(self, run_id: str, progress: Progress, *, timeout: float, every: float = 5.0) -> None:
        """Follow a run to its end.

        Args:
            run_id: The run.
            progress: Called with (step, state) whenever a step's state changes.
            timeout: Longest wait, seconds.
            every: Seconds between two looks.

        Raises:
            TrainingError: The run ended without success; the message names its failed steps.
            UnavailableError: It did not end in time.
        """
        deadline, shown = time.monotonic() + timeout, dict[str, str]()
        while True:
            with _answering(self._host):
                run = self._client.get_run(run_id)
            tasks = _tasks(run)
            for step, state in tasks.items():
                if shown.get(step) != state:
                    progress(step, state)
            shown = tasks
            if run.state in FINAL:
                break
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"run {run_id} is {run.state} after {timeout:.0f} s; it goes on without us, see {self._url(run_id)}"
                )
            time.sleep(every)
        if run.state not in SUCCESS:
            failed = ", ".join(step for step, state in tasks.items() if state == "FAILED") or "no step"
            raise TrainingError(f"run {run_id} ended {run.state}: {failed} failed; see {self._url(run_id)}")

    def _upload(self, platform: Platform, preset: str) -> tuple[str, str, str]:
        """Ids of pipeline and version, and the digest; a version that is there already is reused."""
        with tempfile.TemporaryDirectory() as folder, _answering(self._host):
            package = compile_pipeline(Path(folder) / f"{NAME}.yaml", platform, preset=preset)
            digest = sha256_text(package.read_text())[:KEY_LENGTH]
            pipeline = self._client.get_pipeline_id(NAME)
            if pipeline is None:
                pipeline = self._client.upload_pipeline(str(package), NAME, namespace=self._namespace).pipeline_id
            versions = self._client.list_pipeline_versions(pipeline, page_size=PAGE).pipeline_versions or []
            for version in versions:
                if version.display_name == digest:
                    return str(pipeline), str(version.pipeline_version_id), digest
            uploaded = self._client.upload_pipeline_version(str(package), digest, pipeline_id=pipeline)
            return str(pipeline), str(uploaded.pipeline_version_id), digest

    def _under_way(self, name: str) -> str | None:
        with _answering(self._host):
            runs = self._client.list_runs(
                page_size=PAGE, sort_by="created_at desc", experiment_id=self._experiment
            ).runs
        for run in runs or []:
            if run.display_name == name and (run.state in SUCCESS or run.state not in FINAL):
                return str(run.run_id)
        return None

    def _submission(self, run_id: str, name: str, *, created: bool, kind: str = "runs/details") -> Submission:
        return Submission(run_id, name, created, self._url(run_id, kind))

    def _url(self, run_id: str, kind: str = "runs/details") -> str:
        return f"{self._host}/#/{kind}/{run_id}"


def run_name(name: str) -> str:
    """A name of a run that fits Kubeflow's column.

    >>> len(run_name("the autumn model with every category, " * 20).encode()) <= NAME_BYTES
    True
    """
    if len(name.encode()) <= NAME_BYTES:
        return name
    return shorten(name, NAME_BYTES - KEY_LENGTH - 1) + f" {sha256_text(name)[:KEY_LENGTH]}"


def _key(digest: str, parameters: Mapping[str, Any]) -> str:
    return sha256_text(canonical_json([digest, dict(parameters)]))[:KEY_LENGTH]


def _tasks(run: Any) -> dict[str, str]:
    """The state of each step, without what Kubeflow lists beside them: drivers, executors, root and workflow."""
    details = run.run_details.task_details if run.run_details else None
    steps = set(training.pipeline_spec.root.dag.tasks)
    return {
        str(task.display_name): str(task.state) for task in details or [] if task.display_name in steps and task.state
    }


@contextmanager
def _answering(host: str) -> Iterator[None]:
    from kfp_server_api.exceptions import ApiException  # type: ignore[import-untyped]  # ships no types
    from urllib3.exceptions import HTTPError

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # kfp prints links for notebooks
            yield
    except ApiException as error:
        hint = "; check the token and the namespace" if error.status in (401, 403) else ""
        raise UnavailableError(f"Kubeflow at {host} answered {error.status} {error.reason}{hint}") from error
    except (HTTPError, OSError, TimeoutError) as error:
        raise UnavailableError(f"Kubeflow at {host} did not answer: {type(error).__name__}") from error
