"""Where a triggered run goes: a command on this machine, or Kubeflow Pipelines.

Every target records the reason and the evidence on the run itself: a file and arguments locally, parameters, name and
description on Kubeflow.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fairtag.base.errors import UnavailableError
from fairtag.base.files import canonical_json, sha256_text, write_json
from monitoring.trigger.trigger_policy import KubeflowTarget, LocalTarget

TAIL = 2_000  # characters of a failed command's output that are kept
DESCRIPTION = 1_000  # characters of a run's description


@dataclass(frozen=True)
class Request:
    """One run to be started.

    Args:
        name: Name of the run, unique: the target may be asked twice after a crash.
        reason: Why, in a sentence.
        evidence: Verdicts and decision, as JSON.
        folder: Where the evidence file is written.
    """

    name: str
    reason: str
    evidence: dict[str, Any]
    folder: Path

    @property
    def file(self) -> Path:
        """The evidence file."""
        return self.folder / f"{self.name}.json"

    @property
    def description(self) -> str:
        """Reason, checks and the digest of the evidence, for the run's own page."""
        digest = sha256_text(canonical_json(self.evidence))
        checks = "; ".join(f"{job}: {', '.join(names)}" for job, names in self.evidence.get("checks", {}).items())
        said = f"{self.reason}. Checks: {checks or 'none'}. Evidence sha256:{digest}, {self.file.name} of the trigger"
        return said[:DESCRIPTION]

    def fill(self, text: str) -> str:
        """A text with the placeholders replaced."""
        values = {"{run_name}": self.name, "{reason}": self.reason, "{evidence}": str(self.file)}
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        return text


@dataclass(frozen=True)
class Started:
    """A run that was started.

    Args:
        run: The target's own name of it.
        outcome: ``accepted`` or ``rejected`` where the target waited for the decision, empty where it did not.
        note: What the run said last, for a rejected one.
    """

    run: str
    outcome: str = ""
    note: str = ""


class Target(Protocol):
    """Anything that starts a run."""

    def start(self, request: Request) -> Started:
        """Start the run.

        Raises:
            UnavailableError: It could not be started, or it failed.
        """
        ...


@dataclass(frozen=True)
class Local:
    """Runs a command and waits for it."""

    settings: LocalTarget

    def start(self, request: Request) -> Started:
        """Run the command: 0 is an accepted model, one of ``rejected_codes`` a rejected one, the rest failure."""
        write_json(request.file, request.evidence)
        arguments = [request.fill(argument) for argument in self.settings.command]
        try:
            done = subprocess.run(  # noqa: S603  # the operator's own command, no shell
                arguments, capture_output=True, text=True, timeout=self.settings.timeout_hours * 3600, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnavailableError(f"{arguments[0]}: {error}") from error
        tail = (done.stderr or done.stdout)[-TAIL:].strip()
        if done.returncode in self.settings.rejected_codes:
            return Started(request.name, "rejected", tail)
        if done.returncode != 0:
            raise UnavailableError(f"{arguments[0]} ended with {done.returncode}: {tail}")
        return Started(request.name, "accepted")


@dataclass(frozen=True)
class Kubeflow:
    """Submits the newest version of an uploaded pipeline; an existing run of the same name is not started twice."""

    settings: KubeflowTarget
    client: Any = None

    def start(self, request: Request) -> Started:
        """Submit the run; its decision is made on the cluster, later."""
        write_json(request.file, request.evidence)
        try:
            client = self.client if self.client is not None else self._connect()
            experiment = client.create_experiment(self.settings.experiment, namespace=self.settings.namespace)
            found = self._existing(client, experiment.experiment_id, request.name)
            return Started(found if found is not None else self._submit(client, experiment.experiment_id, request))
        except UnavailableError:
            raise
        except Exception as error:  # the client raises its own, urllib3's and plain ValueErrors alike
            raise UnavailableError(f"Kubeflow at {self.settings.host}: {type(error).__name__}: {error}") from error

    def _connect(self) -> Any:
        try:
            import kfp
        except ImportError as error:
            raise UnavailableError("the Kubeflow target needs kfp; install fairtag[pipelines]") from error
        return kfp.Client(host=self.settings.host, namespace=self.settings.namespace or "kubeflow")

    def _existing(self, client: Any, experiment: str, name: str) -> str | None:
        listed = client.list_runs(experiment_id=experiment, page_size=100, sort_by="created_at desc")
        return next((str(run.run_id) for run in listed.runs or [] if run.display_name == name), None)

    def _submit(self, client: Any, experiment: str, request: Request) -> str:
        pipeline = client.get_pipeline_id(self.settings.pipeline)
        if pipeline is None:
            raise UnavailableError(f"Kubeflow has no pipeline {self.settings.pipeline!r}; upload it first")
        versions = client.list_pipeline_versions(pipeline, page_size=1, sort_by="created_at desc").pipeline_versions
        if not versions:
            raise UnavailableError(f"the pipeline {self.settings.pipeline!r} has no version; upload one")
        run = client._run_api.run_service_create_run(  # run_pipeline has no place for a description
            run=self._body(pipeline, str(versions[0].pipeline_version_id), experiment, request)
        )
        return str(run.run_id)

    def _body(self, pipeline: str, version: str, experiment: str, request: Request) -> Any:
        from kfp_server_api import (  # type: ignore[import-untyped]  # kfp ships no types
            V2beta1PipelineVersionReference,
            V2beta1Run,
            V2beta1RuntimeConfig,
        )

        parameters = {name: request.fill(value) for name, value in self.settings.parameters.items()}
        return V2beta1Run(
            experiment_id=experiment,
            display_name=request.name,
            description=request.description,
            pipeline_version_reference=V2beta1PipelineVersionReference(
                pipeline_id=pipeline, pipeline_version_id=version
            ),
            runtime_config=V2beta1RuntimeConfig(parameters=parameters),
        )


def target_of(settings: LocalTarget | KubeflowTarget) -> Target:
    """The target that the policy names."""
    return Local(settings) if isinstance(settings, LocalTarget) else Kubeflow(settings)
