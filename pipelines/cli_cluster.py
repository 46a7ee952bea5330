"""The commands of ``fairtag`` for a cluster: compile, submit, canary, promote, rollback, lineage."""

from __future__ import annotations

import getpass
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fairtag.base.errors import ConfigError
from fairtag.base.settings import Settings
from pipelines.api_key import read_key
from pipelines.options import setting, spread
from pipelines.settings import SIZES, Platform, RunSettings

if TYPE_CHECKING:
    from components.adapters.service_state import State
    from pipelines.rollout import Rollout

console = Console()
PANEL = "On a cluster"

Namespace = Annotated[str, typer.Option(help="Namespace of the InferenceService.")]
Service = Annotated[str, typer.Option(help="Name of the InferenceService.")]


class RolloutSettings(Settings):
    """Which service is changed, and how it is waited for and tried."""

    namespace: str = setting("fairtag", "Namespace of the InferenceService.")
    service: str = setting("fairtag", "Name of the InferenceService.")
    timeout: float = setting(600, "Longest wait for the service to be ready, seconds.", gt=0)
    restarts: int = setting(3, "Restarts of one container from which on its model is thought to fail for good.", ge=1)
    registry: str = setting("", "MLflow server that holds the accepted models; its champion follows the change.")
    url: str = setting("", "Gateway that is asked for pages; the service itself when empty, by kubectl from outside.")
    key_file: Path | None = setting(None, "File with the endpoint's bearer key, instead of FAIRTAG_API_KEY.")
    query: str = setting("drill", "What those pages search for.")
    pages: int = setting(20, "Pages that the new model must answer.", ge=1)
    most_ms: float = setting(1_000, "Largest 95th percentile of their time, ms; above it the change is undone.", ge=1)
    no_smoke: bool = setting(False, "Do not ask for pages afterwards.")
    dry_run: bool = setting(False, "Print what would change, checked by the cluster; change nothing.")

    def rollout(self) -> Rollout:
        """The rollout of the service that is named."""
        from components.adapters.inference_service import InferenceService
        from pipelines.port_forward import addresses
        from pipelines.rollout import Rollout, Trial

        service = InferenceService(self.namespace, self.service, restarts=self.restarts)
        trial = Trial(self.url, read_key(self.key_file), self.query, self.pages, self.most_ms)
        return Rollout(
            service,
            console,
            timeout=self.timeout,
            trial=None if self.no_smoke else trial,
            address=addresses(service),
        )


@spread()
def compile_(
    platform: Platform,
    out: Annotated[Path, typer.Option(help="File for the pipeline, .yaml.")] = Path("build/fairtag-training.yaml"),
    preset: Annotated[
        str, typer.Option(help="Sizes the steps where no option does: demo, standard or gpu.")
    ] = "standard",
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="Write Pipeline and PipelineVersion objects.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="Namespace of those objects.")] = "kubeflow",
) -> None:
    """Compile the training pipeline for Kubeflow Pipelines."""
    from pipelines.compilation import compile_pipeline

    if preset not in SIZES:
        raise ConfigError(f"--preset {preset!r} is refused; it must be one of {', '.join(SIZES)}")
    written = compile_pipeline(out, platform, preset=preset, namespace=namespace if kubernetes else None)
    console.print(f"written to {written}", highlight=False)


@spread("submit")
def submit(
    settings: RunSettings,
    host: Annotated[str, typer.Option(help="Address of the Kubeflow Pipelines API.")] = "http://localhost:8888",
    cron: Annotated[str | None, typer.Option(help="Run on a schedule: six fields, seconds first.")] = None,
    wait: Annotated[float, typer.Option(help="Follow the run for at most this many seconds; 0 returns at once.")] = 0,
    namespace: Annotated[str | None, typer.Option(help="Namespace of a multi-user installation.")] = None,
    experiment: Annotated[str, typer.Option(help="Experiment of the run.")] = "fairtag",
    token: Annotated[Path | None, typer.Option(help="File with a bearer token.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the pipeline's YAML and send nothing.")] = False,
) -> None:
    """Send the training pipeline to Kubeflow: upload it if it changed, start a run or a schedule, follow it if asked.

    A run of the same pipeline with the same settings is not started twice: the one under way or done is found again.
    """
    from pipelines.compilation import compile_pipeline
    from pipelines.display import Display
    from pipelines.submit import Kubeflow

    platform, parameters = settings.platform, settings.changed_parameters()
    if dry_run:
        with tempfile.TemporaryDirectory() as folder:
            written = compile_pipeline(Path(folder) / "pipeline.yaml", platform, preset=settings.encoder.preset)
            print(written.read_text())
        return
    bearer = token.read_text().strip() if token else None
    kubeflow = Kubeflow(host, namespace=namespace, token=bearer, experiment=experiment)
    sent = kubeflow.schedule(cron, parameters, platform) if cron else kubeflow.submit(parameters, platform)
    state = "started" if sent.created else "was sent before"
    console.print(f"{sent.name} {state}: {sent.url}", highlight=False, soft_wrap=True)
    if wait and not cron:
        with Display(console) as display:
            kubeflow.wait(sent.run_id, display.step, timeout=wait)


@spread()
def canary(
    storage_uri: Annotated[
        str, typer.Argument(help="Address of the second model's folder: s3://bucket/models/VERSION.")
    ],
    rollout: RolloutSettings,
    to: Annotated[int, typer.Option(help="Percent of the traffic that it gets.")] = 10,
    decision: Annotated[Path | None, typer.Option(help="DECISION.json about it, instead of the registry.")] = None,
) -> None:
    """Run a second, accepted model beside the stable one: tried without traffic at first, then given its share.

    It is taken away again if its pages are wrong or slow. Only a gateway splits traffic; without one, it says so.
    """
    facts = _accepted_facts(storage_uri, rollout.registry, decision)
    rollout.rollout().canary(storage_uri, to, facts, dry_run=rollout.dry_run)


@spread()
def promote(rollout: RolloutSettings) -> None:
    """Give all traffic to the canary's model, without an outage; undo it if it is not ready or its pages are wrong."""
    _champion_follows(rollout, rollout.rollout().promote(dry_run=rollout.dry_run))


@spread()
def rollback(
    rollout: RolloutSettings,
    run: Annotated[
        Path | None, typer.Option(help="Folder of a run: go back there, without a cluster.", metavar="RUN")
    ] = None,
    why: Annotated[str, typer.Option(help="Why, in words; it is kept with a run's deployments.")] = "",
    who: Annotated[str, typer.Option(help="Who goes back; your login by default.")] = "",
) -> None:
    """Take the canary away; without a canary, go back to the previous model. With --run, in the folder of a run."""
    if run is not None:
        _roll_back_run(run, rollout, who, why)
        return
    _champion_follows(rollout, rollout.rollout().rollback(dry_run=rollout.dry_run))


def _roll_back_run(run: Path, rollout: RolloutSettings, who: str, why: str) -> None:
    """Go back to the previous accepted model of a run; the registry's champion follows."""
    from components.adapters.kserve import roll_back_folder
    from components.adapters.mlflow import open_registry
    from pipelines.lineage import champion_follows
    from pipelines.run_folder import RunFolder

    folder = RunFolder(run.absolute())
    before, now = roll_back_folder(folder.root, who=who or getpass.getuser(), why=why)
    console.print(f"model {now} is live again in {run}, in place of {before}", highlight=False, soft_wrap=True)
    registry = rollout.registry or (str(folder.registry) if folder.registry.is_dir() else "")
    if registry:
        console.print(champion_follows(open_registry(registry), now), highlight=False)
    console.print("an endpoint of the run takes it up within seconds, without a restart", highlight=False)


def lineage(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")] = Path("runs/demo"),
    registry: Annotated[str | None, typer.Option(help="Address of an MLflow server, instead of the run's own.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Show what the cluster's service serves instead.")] = False,
    namespace: Namespace = "fairtag",
    service: Service = "fairtag",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of objects.")] = False,
) -> None:
    """Show each registered version, or each live model, with the data, the decision and the run that it comes from."""
    from components.adapters.inference_service import InferenceService
    from components.adapters.mlflow import open_registry
    from pipelines.lineage import registered, show
    from pipelines.run_folder import RunFolder

    if live:
        models = InferenceService(namespace, service).lineage()
    else:
        models = registered(open_registry(registry or str(RunFolder(run.absolute()).registry)))
    if as_json:
        print(json.dumps(models, indent=2))
    else:
        show(models, console)


def _accepted_facts(storage_uri: str, registry: str, decision: Path | None) -> dict[str, str]:
    from components.adapters.mlflow import open_registry
    from fairtag.model.decision import read_decision
    from pipelines.lineage import decided_facts, registered_facts

    if decision:
        return decided_facts(read_decision(decision), storage_uri)
    if registry:
        return registered_facts(open_registry(registry), storage_uri)
    raise ConfigError("only an accepted model may go live; name the --registry that holds it, or its --decision file")


def _champion_follows(rollout: RolloutSettings, live: State) -> None:
    from components.adapters.mlflow import open_registry
    from pipelines.lineage import champion_follows

    if rollout.registry and not rollout.dry_run:
        console.print(champion_follows(open_registry(rollout.registry), live.stable), highlight=False)


def add_commands(app: typer.Typer) -> None:
    """Put the commands on a command line."""
    app.command(name="compile", rich_help_panel=PANEL)(compile_)
    for command in (submit, canary, promote, rollback, lineage):
        app.command(rich_help_panel=PANEL)(command)
