"""Where a triggered run goes: a command on this machine, or Kubeflow Pipelines.

Each target records the reason and the evidence on the run: a local run gets a file and arguments; a Kubeflow run gets
parameters, a name and a description.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fairtag.base.errors import UnavailableError
from fairtag.base.files import canonical_json, sha256_text, write_json
from fairtag.base.text import shorten
from monitoring.trigger.trigger_policy import KubeflowTarget, LocalTarget

TAIL = 2_000  # characters kept of a command's output
RUNS = 100  # of an experiment that are looked at, the newest
SUCCEEDED = "SUCCEEDED"
DESCRIPTION_BYTES = 255  # Kubeflow's column of a run's description; a longer one is answered with status 500


@dataclass(frozen=True)
class RunRequest:
    """A request to start one run.

    Args:
        name: Unique name of the run, so that a second request after a crash starts no second run.
        reason: Reason in one sentence.
        evidence: Reports and decision, as JSON values.
        folder: Folder of the evidence file.
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
        """The reason and the digest of the evidence, for the page of the run: at most 255 bytes.

        A reason that does not fit is cut between words. It is whole in the evidence file and in the ledger.
        """
        evidence = f". Evidence: {self.file.name}, sha256:{sha256_text(canonical_json(self.evidence))}"
        return shorten(self.reason, DESCRIPTION_BYTES - len(evidence.encode())) + evidence

    def fill(self, text: str) -> str:
        """The text with its placeholders filled in."""
        values = {"{run_name}": self.name, "{reason}": self.reason, "{evidence}": str(self.file)}
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        return text


@dataclass(frozen=True)
class Run:
    """A run at its target.

    Args:
        name: The target's own name of the run.
        outcome: ``accepted`` or ``rejected`` if the target waited for the decision, else empty.
        note: The end of the output, for a rejected run.
    """

    name: str
    outcome: str = ""
    note: str = ""


class Target(Protocol):
    """Starts runs."""

    def start(self, request: RunRequest) -> Run:
        """Start the requested run.

        Raises:
            UnavailableError: The run could not be started, or it failed.
        """
        ...


@dataclass(frozen=True)
class Local:
    """Runs a command and waits for its end."""

    settings: LocalTarget

    def start(self, request: RunRequest) -> Run:
        """Run the command: exit code 0 means accepted, one of ``rejected_codes`` rejected, any other code failed."""
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
            return Run(request.name, "rejected", tail)
        if done.returncode != 0:
            raise UnavailableError(f"{arguments[0]} ended with {done.returncode}: {tail}")
        return Run(request.name, "accepted")


@dataclass(frozen=True)
class Kubeflow:
    """Submits the newest version of an uploaded pipeline; a name that already has a run is not submitted again.

    The run repeats the parameters of the last run that succeeded, such as the shop's tables: with the pipeline's own
    defaults, a retraining would replace the shop's model by one of the simulated shop. The policy's come on top.
    """

    settings: KubeflowTarget
    client: Any = None

    def start(self, request: RunRequest) -> Run:
        """Submit the run; the cluster decides on the model later."""
        write_json(request.file, request.evidence)
        try:
            client = self.client if self.client is not None else self._connect()
            experiment = client.create_experiment(self.settings.experiment, namespace=self.settings.namespace)
            runs = self._runs(client, experiment.experiment_id)
            existing = next((str(run.run_id) for run in runs if run.display_name == request.name), None)
            return Run(existing or self._submit(client, experiment.experiment_id, runs, request))
        except UnavailableError:
            raise
        except Exception as error:  # the client raises its own errors, urllib3's and ValueError
            raise UnavailableError(f"Kubeflow at {self.settings.host}: {type(error).__name__}: {error}") from error

    def _connect(self) -> Any:
        try:
            import kfp
        except ImportError as error:
            raise UnavailableError("the Kubeflow target needs kfp; install fairtag[pipelines]") from error
        return kfp.Client(host=self.settings.host, namespace=self.settings.namespace or "kubeflow")

    def _runs(self, client: Any, experiment: str) -> list[Any]:
        """The newest runs of the experiment, the newest first."""
        return list(client.list_runs(experiment_id=experiment, page_size=RUNS, sort_by="created_at desc").runs or [])

    def _submit(self, client: Any, experiment: str, runs: Sequence[Any], request: RunRequest) -> str:
        pipeline = client.get_pipeline_id(self.settings.pipeline)
        if pipeline is None:
            raise UnavailableError(
                f"Kubeflow has no pipeline {self.settings.pipeline!r}; upload it with `fairtag submit`"
            )
        versions = client.list_pipeline_versions(pipeline, page_size=1, sort_by="created_at desc").pipeline_versions
        if not versions:
            raise UnavailableError(
                f"the pipeline {self.settings.pipeline!r} has no version; upload one with `fairtag submit`"
            )
        filled = {name: request.fill(value) for name, value in self.settings.parameters.items()}
        body = self._body(
            pipeline,
            str(versions[0].pipeline_version_id),
            experiment,
            request,
            {**self._repeated(pipeline, runs), **filled},
        )
        run = client._run_api.run_service_create_run(run=body)  # run_pipeline takes no description
        return str(run.run_id)

    def _repeated(self, pipeline: str, runs: Sequence[Any]) -> dict[str, Any]:
        """The parameters of the last run of the pipeline that succeeded."""
        for run in runs:
            if run.state == SUCCEEDED and run.pipeline_version_reference.pipeline_id == pipeline:
                return dict(run.runtime_config.parameters or {}) if run.runtime_config else {}
        raise UnavailableError(
            f"none of the {RUNS} newest runs of {self.settings.pipeline!r} in experiment {self.settings.experiment!r} "
            "succeeded, and a retraining repeats the parameters of the last that did; start one with `fairtag submit`"
        )

    def _body(
        self, pipeline: str, version: str, experiment: str, request: RunRequest, parameters: Mapping[str, Any]
    ) -> Any:
        from kfp_server_api import (  # type: ignore[import-untyped]  # kfp ships no types
            V2beta1PipelineVersionReference,
            V2beta1Run,
            V2beta1RuntimeConfig,
        )

        return V2beta1Run(
            experiment_id=experiment,
            display_name=request.name,
            description=request.description,
            pipeline_version_reference=V2beta1PipelineVersionReference(
                pipeline_id=pipeline, pipeline_version_id=version
            ),
            runtime_config=V2beta1RuntimeConfig(parameters=dict(parameters)),
        )


def target_of(settings: LocalTarget | KubeflowTarget) -> Target:
    """The target that a policy names."""
    return Local(settings) if isinstance(settings, LocalTarget) else Kubeflow(settings)
